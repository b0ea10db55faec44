"""The sha256 of files, computed once for each file as it is."""

import hashlib
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BLOCK = 1 << 18  # bytes read at a time

_known: dict[tuple[Any, ...], str] = {}  # by path, size and times of change
_guard = threading.Lock()


def sha256_of(path: Path) -> str:
    """The sha256 of a file in hex, read again only if the file has changed since the last call.

    Raises:
        OSError: it can't be read.
    """
    status = path.stat()
    key = (path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns)
    with _guard:
        if key in _known:
            return _known[key]
    sha256 = read_sha256(path).hex()
    with _guard:
        _known[key] = sha256
    return sha256


def read_sha256(path: Path) -> bytes:
    """The sha256 of a file's bytes, which are read whatever is known of it.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    update(digest, path)
    return digest.digest()


def sha256_of_parts(paths: Iterable[Path]) -> str:
    """The sha256 of a file in hex, or of several: that of their digests, one after the other."""
    digests = [sha256_of(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def remember(path: Path, sha256: str) -> None:
    """Notes the digest of a file that was computed while the file was written."""
    status = path.stat()
    with _guard:
        _known[path.absolute(), status.st_ino, status.st_size, status.st_mtime_ns] = sha256


def update(digest: Any, path: Path) -> None:
    """Adds a file's bytes to a hashlib digest."""
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
