"""Image files on disk, opened one at a time: a data set of any size in a few bytes an image."""

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image

from zeroshot.data.image_set import Picture, Selection
from zeroshot.data.read_file import reason
from zeroshot.data.read_image import FORMATS, HEIF, open_image, register_formats
from zeroshot.downloads.digest import read_sha256
from zeroshot.errors import ZeroshotError, printable

AHEAD = 512  # files handed to the threads at a time


class ImageFiles(Sequence[Picture]):
    """RGB PIL images by place; `images[i]` opens its file anew and raises ZeroshotError if it can't be read.

    `paths` are relative to `folder`, or absolute. They are kept as one block of bytes: 50,000 strings cost 5 MB.
    """

    def __init__(self, folder: Path, paths: Iterable[str]) -> None:
        self.folder = folder
        block, ends = bytearray(), array("q")
        for path in paths:
            block += os.fsencode(path)
            ends.append(len(block))
        self._block, self._ends = bytes(block), ends
        self._digests: bytes | None = None  # once all files were read

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | Sequence[Picture]:
        if isinstance(index, slice):
            return Selection(self, np.arange(len(self), dtype=np.int64)[index])
        return open_image(self.path(index))

    def path(self, index: int) -> Path:
        """The path of image `index`."""
        place = range(len(self))[index]
        start = self._ends[place - 1] if place else 0
        return self.folder / os.fsdecode(self._block[start : self._ends[place]])

    def digests(self) -> Iterator[bytes]:
        """The sha256 of each file's bytes, in order; raises ZeroshotError at one that can't be read.

        The files are read the first time that all digests are asked for, and not again.
        """
        if self._digests is None:
            found = bytearray()
            with ThreadPoolExecutor() as threads:
                for start in range(0, len(self), AHEAD):
                    places = range(start, min(start + AHEAD, len(self)))
                    for digest in threads.map(file_digest, map(self.path, places)):
                        found += digest
                        yield digest
            self._digests = bytes(found)
            return
        size = hashlib.sha256().digest_size
        for start in range(0, len(self._digests), size):
            yield self._digests[start : start + size]


def unread_reason(path: Path) -> str | None:
    """Why a file is not read as an image, by its name and kind alone; None for one that may be an image."""
    if os.path.islink(path) and not os.path.exists(path):
        return "a dangling link"
    if not os.path.isfile(path):
        return "not a regular file"
    if not is_image(path.name):
        return "install pillow-heif to read it" if path.suffix.lower() in HEIF else "not an image format that is read"
    return None


def is_image(path: str) -> bool:
    """Whether a file's name ends as those of the images do that `open_image` reads."""
    register_formats()
    return Image.registered_extensions().get(os.path.splitext(path)[1].lower()) in FORMATS


def file_digest(path: Path) -> bytes:
    """The sha256 of a file's bytes; raises ZeroshotError if it can't be read."""
    try:
        return read_sha256(path)
    except (OSError, ValueError) as error:
        raise ZeroshotError(f"{printable(path)} can't be read ({reason(error)})") from error
