"""Tensors of an open file: names, shapes and dtypes first, values one at a time when they are read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from zeroshot.models.checkpoints.settings import UNKNOWN, Settings

Array = NDArray[Any]

# Every dtype that a checkpoint may hold, as numpy reads its bytes. numpy has no bfloat16: see `from_bytes`.
DTYPES = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "?",
}


class DamagedError(Exception):
    """A file whose content does not match its header; the text says where."""


@dataclass(frozen=True)
class Stored:
    """One tensor of an open file; `read` returns its values (bfloat16 as float32), C-contiguous, in `shape`.

    `read` raises DamagedError where they do not match the header.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array]


@dataclass(frozen=True)
class Contents:
    """What an open file contains: its tensors by the file's own names, its container, and its metadata."""

    container: str
    tensors: dict[str, Stored]
    settings: Settings = UNKNOWN


def item_size(dtype: str) -> int:
    """Bytes of one element."""
    return np.dtype(DTYPES[dtype]).itemsize


def read_exactly(file: BinaryIO, offset: int, length: int) -> NDArray[np.uint8]:
    """The bytes [offset, offset + length) of a file, uint8 [length]; DamagedError where it ends before that."""
    buffer = np.empty(length, np.uint8)
    file.seek(offset)
    view = buffer.data
    while view:
        count = file.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise DamagedError(f"it ends {len(view)} bytes early")
        view = view[count:]
    return buffer


def from_bytes(buffer: NDArray[np.uint8], dtype: str) -> Array:
    """The elements of a file's bytes, one-dimensional; bfloat16 becomes float32, which represents it exactly."""
    elements = buffer.view(DTYPES[dtype])
    if dtype != "bfloat16":
        return elements
    upper_half = elements.astype("<u4")  # a bfloat16 is the upper half of a float32
    upper_half <<= 16
    return upper_half.view("<f4")
