"""Image features on disk: files that are written whole and checked when they are read, under a bound.

A store is a folder of small files that are written whole, never changed and checked when they are read, so that any
number of processes may share it. Whatever happens to it costs time, never a run and never a figure.
"""

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]

FORMAT = b"zeroshot image features 1\n"  # how every file begins; a line with the key follows
SUFFIX, ASIDE, PART = ".features", ".aside", ".part"
DIGEST = 32  # bytes of a sha256

LIMIT = 4 << 30  # bytes of the whole store; ViT-B/32 takes 2 KB an image
SLACK = 1 / 32  # of it, that a process writes before it looks again how much there is
AT_RISK = 256  # images that a power cut may cost
SECONDS = 60.0  # that features of a slow model wait at most until they are written
SCATTERED = 64  # files of fewer than AT_RISK images that are left as they are before they are joined
ABANDONED = 3600.0  # seconds after which a file that is still unfinished belongs to a process that was killed

log = logging.getLogger(__name__)


class _UnusableError(Exception):
    """Why a file is not used."""


class FeatureStore:
    """Features by the digests of their images, under one key: all else that a feature depends on.

    A file holds a line for the format, a line for the key, the digests [n, 32], the features as little-endian float32
    [n, width], and a sha256 over all that.

    Args:
        root: the folder of all stores.
        key: all that features depend on but the image; plain values for JSON.
        width: numbers in a feature.
        limit: bytes that all stores under `root` may take; files that were not used for longest are removed first.
    """

    def __init__(self, root: Path, key: Mapping[str, Any], width: int, limit: int = LIMIT) -> None:
        text = json.dumps({**key, "width": width}, sort_keys=True)
        self.root, self.width, self.limit = root, width, limit
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:DIGEST]
        self._head = FORMAT + text.encode() + b"\n"
        self._waiting: list[tuple[bytes, Features]] = []
        self._since = 0.0  # when the first of them began to wait
        self._unseen = limit  # bytes that this process has written since it looked how much there is
        self._given_up = False

    def read(self, digests: Collection[bytes]) -> dict[bytes, Features]:
        """The features [width] that the store has, by their digests; what it can't use is set aside with a warning."""
        asked = frozenset(digests)
        found: dict[bytes, Features] = {}
        scattered = []
        for path in self._files():
            there, features = self._load(path, asked) or ([], None)
            if 0 < len(there) < AT_RISK:
                scattered.append(path)
            if features is None:
                continue
            rows = [row for row, digest in enumerate(there) if digest in asked]
            found |= zip([there[row] for row in rows], features[rows], strict=True)
            with suppress(OSError):
                os.utime(path)  # so that it is not the next to be removed
        if len(scattered) > SCATTERED:
            self._gather(scattered)
        return found

    def add(self, digests: Sequence[bytes], features: Features) -> None:
        """Keeps features [n, width]: on disk before as many more would make it over 256, and after a minute."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += zip(digests, features, strict=True)
        if len(self._waiting) + len(digests) > AT_RISK or time.monotonic() - self._since > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what waits. A disk that is full or can't be written ends the storing, with a warning."""
        waiting, self._waiting = self._waiting[:], []  # a copy: another thread may flush it
        if not waiting or self._given_up:
            return
        try:
            self._write([digest for digest, _ in waiting], np.stack([row for _, row in waiting]))
        except OSError as error:
            self._given_up = True
            log.warning(
                "image features are no longer kept in %s (%s): make room, or type stage.cache=false",
                self.root,
                error.strerror or error,
            )

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.suffix == SUFFIX)
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("the image features in %s can't be read (%s)", self.folder, error.strerror or error)
            return []

    def _load(self, path: Path, asked: frozenset[bytes] | None) -> tuple[list[bytes], Features | None] | None:
        """Digests and, if one is asked for (None: all are), features of a file; None for a file that can't be used."""
        try:
            with path.open("rb") as file:
                head = file.read(len(self._head))
                if head != self._head:
                    strange = "is of another model or setting" if head.startswith(FORMAT) else "is of another format"
                    raise _UnusableError(strange)
                count, rest = divmod(os.fstat(file.fileno()).st_size - len(head) - DIGEST, DIGEST + 4 * self.width)
                if count < 1 or rest:
                    raise _UnusableError("is cut short")
                block = file.read(count * DIGEST)
                digests = [block[start : start + DIGEST] for start in range(0, len(block), DIGEST)]
                if asked is not None and asked.isdisjoint(digests):
                    return digests, None
                values = file.read(count * 4 * self.width)
                checked = hashlib.sha256(head + block)
                checked.update(values)
                if checked.digest() != file.read():
                    raise _UnusableError("is damaged")
        except FileNotFoundError:  # removed by another process
            return None
        except _UnusableError as why:
            self._set_aside(path, str(why))
            return None
        except OSError as error:
            log.warning("%s can't be read (%s): its images are encoded again", path, error.strerror or error)
            return None
        return digests, np.frombuffer(values, "<f4").astype(np.float32, copy=False).reshape(count, self.width)

    def _set_aside(self, path: Path, what: str) -> None:
        try:
            path.replace(path.with_suffix(ASIDE))
        except FileNotFoundError:  # another process was quicker
            return
        except OSError as error:
            log.warning("%s %s and can't be set aside (%s): remove it", path, what, error.strerror or error)
            return
        log.warning("%s %s: set aside as *%s, its images are encoded again", path, what, ASIDE)

    def _gather(self, scattered: Sequence[Path]) -> None:
        """Makes one file of many, and removes them once it is written."""
        kept: dict[bytes, Features] = {}
        for path in scattered:
            digests, features = self._load(path, None) or ([], None)
            if features is not None:
                kept |= zip(digests, features, strict=True)
        with suppress(OSError):  # it was for speed alone
            written = self._write(list(kept), np.stack(list(kept.values()))) if kept else None
            for path in scattered:
                if path != written:
                    path.unlink(missing_ok=True)

    def _write(self, digests: Sequence[bytes], features: Features) -> Path:
        """Writes a file, whole and through to the disk, or not at all; then keeps the store in its bounds."""
        content = b"".join((self._head, *digests, features.astype("<f4", copy=False).tobytes()))
        digest = hashlib.sha256(content)
        path = self.folder / f"{digest.hexdigest()[:DIGEST]}{SUFFIX}"
        part = path.with_suffix(f".{secrets.token_hex(4)}{PART}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                _write_through(part, content + digest.digest())
            except FileNotFoundError:  # another process has just removed the folder, which it had emptied
                self.folder.mkdir(parents=True, exist_ok=True)
                _write_through(part, content + digest.digest())
            part.replace(path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        for folder in (self.folder, self.root):
            _sync_folder(folder)
        self._unseen += len(content) + DIGEST
        if self._unseen > self.limit * SLACK:
            self._make_room()
        return path

    def _make_room(self) -> None:
        """Removes the files that were not used for longest, where the limit is near."""
        files = sorted((status.st_mtime_ns, status.st_size, path) for path, status in self._inventory())
        taken, self._unseen = sum(size for _, size, _ in files), 0
        if taken <= self.limit * (1 - SLACK):
            return
        for _, size, path in files:
            if taken <= self.limit * (1 - 4 * SLACK):
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
                taken -= size
            with suppress(OSError):  # it fails, as it should, while there is something in it
                path.parent.rmdir()

    def _inventory(self) -> Iterator[tuple[Path, os.stat_result]]:
        """All files of all stores; what killed processes left unfinished is removed."""
        for path in self.root.glob("*/*"):
            with suppress(OSError):
                status = path.stat()
                if path.suffix == PART and time.time() - status.st_mtime > ABANDONED:
                    path.unlink()
                elif path.suffix in (SUFFIX, ASIDE, PART):
                    yield path, status


def _write_through(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Writes a folder's list of names through to the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
