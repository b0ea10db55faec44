"""Reads MindSpore's `.ckpt`: a protobuf message, read field by field so that only one tensor is in memory at a time.

`mindspore.load_checkpoint` needs twice the memory, after an import of two seconds (ViT-B/32: 1.5 s and 1.2 GB,
here 0.4 s and 0.6 GB). The message is `checkpoint.proto` of MindSpore::

    message Checkpoint     { repeated Value value = 1; }
    message Value          { required string tag = 1;
                             oneof { TensorProto tensor = 2; MapTensorProto maptensor = 3; } }
    message TensorProto    { repeated int64 dims = 1;
                             required string tensor_type = 2; required bytes tensor_content = 3; }

A tensor above 512 MB is cut into values of the same tag, one after another. A file may end with `crc_num` and the
CRC-32 of all that is before it, in ten bytes, big-endian.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from zeroshot.errors import ZeroshotError, printable
from zeroshot.models.checkpoints.stored_tensors import (
    Array,
    Contents,
    DamagedError,
    Stored,
    from_bytes,
    item_size,
    read_exactly,
)

_VARINT, _BYTES = 0, 2  # wire types
_LONGEST_TEXT = 1024
_MOST_DIMS = 16
_TRAILER = b"crc_num"


@dataclass
class _Piecewise:
    """A tensor and its pieces, each the bytes [offset, offset + length) of the file."""

    dims: tuple[int, ...]
    dtype: str
    pieces: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class _Field:
    number: int
    wire: int
    value: int  # of a varint; of bytes their offset
    length: int = 0


def is_mindspore(start: bytes) -> bool:
    """Whether a file that starts so may be a MindSpore checkpoint: field 1, as bytes, whose field 1 is bytes too."""
    size = next((place for place, byte in enumerate(start[1:6], 1) if byte < 128), 0)  # where the length ends
    return start[:1] == b"\x0a" and size > 0 and start[size + 1 : size + 2] == b"\x0a"


def read_mindspore(file: BinaryIO, path: Path) -> Contents:
    """The tensors of an open MindSpore checkpoint; ZeroshotError where it is cut short, damaged or encrypted."""
    try:
        end = _content_end(file)
        found: dict[str, _Piecewise] = {}
        for value in _fields(file, 0, end):
            if (value.number, value.wire) != (1, _BYTES):
                raise ValueError(f"field {value.number} where a parameter belongs")
            _add_value(file, value, found)
    except (ValueError, DamagedError) as error:
        raise ZeroshotError(
            f"{path}: a MindSpore checkpoint that is cut short, damaged or encrypted: get it again ({printable(error)})"
        ) from error
    return Contents("ckpt", {name: _stored(file, path, name, parts) for name, parts in found.items()})


def _content_end(file: BinaryIO) -> int:
    """Where the message ends; the CRC that may follow is checked."""
    size = file.seek(0, 2)
    trailer = len(_TRAILER) + 10
    if size < trailer or not (tail := read_exactly(file, size - trailer, trailer).tobytes()).startswith(_TRAILER):
        return size
    end, checksum = size - trailer, 0
    for offset in range(0, end, 2**24):
        checksum = zlib.crc32(read_exactly(file, offset, min(2**24, end - offset)).data, checksum)
    if checksum != int.from_bytes(tail[len(_TRAILER) :], "big"):
        raise ValueError("its CRC does not fit")
    return end


def _add_value(file: BinaryIO, value: _Field, found: dict[str, _Piecewise]) -> None:
    tag, tensor = None, None
    for part in _fields(file, value.value, value.value + value.length):
        if (part.number, part.wire) == (1, _BYTES):
            tag = _text(file, part)
        elif (part.number, part.wire) == (2, _BYTES):
            tensor = part
        else:
            raise ValueError(f"field {part.number} in the parameter '{tag}'")
    if tag is None or tensor is None:
        raise ValueError("a parameter without name or value")
    dims: list[int] = []
    dtype, content = None, None
    for part in _fields(file, tensor.value, tensor.value + tensor.length):
        if (part.number, part.wire) == (1, _VARINT) and len(dims) < _MOST_DIMS:
            dims.append(part.value)
        elif (part.number, part.wire) == (2, _BYTES):
            dtype = _text(file, part).lower()
        elif (part.number, part.wire) == (3, _BYTES):
            content = (part.value, part.length)
        else:
            raise ValueError(f"field {part.number} in the tensor '{tag}'")
    if dtype is None or content is None:
        raise ValueError(f"'{tag}' without type or content")
    shape = () if dims == [0] else tuple(dims)  # some versions write a scalar's shape as [0]
    known = found.setdefault(tag, _Piecewise(shape, dtype))
    if known.pieces and (known.dims, known.dtype, next(reversed(found))) != (shape, dtype, tag):
        raise ValueError(f"'{tag}' occurs twice")
    known.pieces.append(content)


def _stored(file: BinaryIO, path: Path, name: str, parts: _Piecewise) -> Stored:
    try:
        expected = math.prod(parts.dims) * item_size(parts.dtype)
    except KeyError:
        raise ZeroshotError(
            f"{path}: '{printable(name)}' is {printable(parts.dtype)}, a dtype that is not read; store it as float32"
        ) from None
    length = sum(length for _, length in parts.pieces)
    if length != expected:
        raise ZeroshotError(
            f"{path}: '{printable(name)}' has {length} bytes, which is not {list(parts.dims)} of {parts.dtype}"
        )
    return Stored(parts.dims, parts.dtype, partial(_read, file, parts))


def _read(file: BinaryIO, parts: _Piecewise) -> Array:
    buffers = [read_exactly(file, offset, length) for offset, length in parts.pieces]
    content = buffers[0] if len(buffers) == 1 else np.concatenate(buffers)
    return from_bytes(content, parts.dtype).reshape(parts.dims)


def _text(file: BinaryIO, part: _Field) -> str:
    if part.length > _LONGEST_TEXT:
        raise ValueError(f"a name of {part.length} bytes")
    return read_exactly(file, part.value, part.length).tobytes().decode()


def _fields(file: BinaryIO, offset: int, end: int) -> Iterator[_Field]:
    """The fields of the message at [offset, end), without reading its bytes."""
    while offset < end:
        key, offset = _varint(file, offset, end)
        value, offset = _varint(file, offset, end)
        if key & 7 == _VARINT:
            yield _Field(key >> 3, _VARINT, value)
        elif key & 7 == _BYTES:
            if value > end - offset:
                raise ValueError(f"{value} bytes are announced where {end - offset} are left")
            yield _Field(key >> 3, _BYTES, offset, value)
            offset += value
        else:
            raise ValueError(f"wire type {key & 7}")


def _varint(file: BinaryIO, offset: int, end: int) -> tuple[int, int]:
    """The number that starts at `offset` and the offset after it: seven bits a byte, the lowest first."""
    file.seek(offset)
    number = 0
    for place, byte in enumerate(file.read(min(10, end - offset))):
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, offset + place + 1
    raise ValueError("a number without an end")
