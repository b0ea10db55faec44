"""Images on their way to a worker: by path where it sees the same file, as bytes elsewhere."""

import hashlib
import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeroshot.data.file_names import expanded
from zeroshot.downloads.http import is_url

LARGEST = 1 << 28  # bytes of a file that is sent; a worker opens larger ones, and endless devices, itself


@dataclass(frozen=True)
class SentFile:
    """An image file: its name in error messages, its absolute path, and its content or the digest of it."""

    name: str
    path: str
    sha256: bytes
    data: bytes | None = None


class _NamedBytes(io.BytesIO):
    """The bytes of a file, with the name that error messages give it."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def packed(images: Iterable[Any], same_host: bool, as_bytes: bool) -> list[Any]:
    """The images as a worker gets them: on the leader's host as they are, elsewhere files as `SentFile`.

    Open files are read: they belong to the leader's process. A file that can't be read stays a path, so that the worker
    says why.

    Args:
        images: as `load_image` takes them.
        same_host: whether the worker shares the leader's files.
        as_bytes: whether files are sent whole.
    """
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda image: _packed(image, same_host, as_bytes), images))


def unpacked(images: Iterable[Any]) -> list[Any] | None:
    """The images as `load_image` takes them; None if the file at a path is missing here or is another one."""
    with ThreadPoolExecutor() as threads:
        found = list(threads.map(_unpacked, images))
    return None if any(image is None for image in found) else found


def _packed(image: Any, same_host: bool, as_bytes: bool) -> Any:
    if callable(getattr(image, "read", None)):
        with suppress(AttributeError, OSError):
            image.seek(0)  # as Pillow does
        return SentFile(str(getattr(image, "name", "the file given")), "", b"", image.read())
    if same_host or not isinstance(image, str | os.PathLike) or is_url(str(image)):
        return image
    path = expanded(image)
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return image
        data = path.read_bytes()
    except (OSError, ValueError):
        return image
    return SentFile(str(path), str(path.absolute()), hashlib.sha256(data).digest(), data if as_bytes else None)


def _unpacked(image: Any) -> Any:
    if not isinstance(image, SentFile):
        return image
    if image.data is not None:
        return _NamedBytes(image.data, image.name)
    try:
        data = Path(image.path).read_bytes() if os.path.isfile(image.path) else b""
    except OSError:
        return None
    return _NamedBytes(data, image.name) if hashlib.sha256(data).digest() == image.sha256 else None
