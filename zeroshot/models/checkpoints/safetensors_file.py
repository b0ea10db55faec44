"""Reads and writes safetensors files, one tensor at a time; the library checks the header of what is read."""

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open

from zeroshot.errors import ZeroshotError, printable
from zeroshot.models.checkpoints.settings import Settings
from zeroshot.models.checkpoints.stored_tensors import (
    DTYPES,
    Array,
    Contents,
    Stored,
    from_bytes,
    item_size,
    read_exactly,
)

_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts so is a safetensors file: the header's length, then JSON."""
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 2**32


def read_safetensors(file: BinaryIO, path: Path) -> Contents:
    """The tensors of an open safetensors file.

    The file is not mapped: mapped pages would count once more beside the arrays, and a file that shrinks under the map
    would kill the process.
    """
    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        raise ZeroshotError(
            f"{path}: a safetensors file that is cut short or damaged: get it again ({printable(error)})"
        ) from error
    length = int.from_bytes(read_exactly(file, 0, 8).tobytes(), "little")
    header = json.loads(read_exactly(file, 8, length).tobytes())
    notes = header.pop("__metadata__", None) or {}
    tensors = {}
    for name, entry in header.items():
        dtype, shape, (begin, end) = _DTYPES.get(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
        if dtype is None:
            raise ZeroshotError(
                f"{path}: '{printable(name)}' is {printable(entry['dtype'])}, a dtype that is not read: store float32"
            )
        if end - begin != math.prod(shape) * item_size(dtype):
            raise ZeroshotError(
                f"{path}: '{printable(name)}' has {end - begin} bytes, which is not {list(shape)} of {dtype}"
            )
        tensors[name] = Stored(shape, dtype, partial(_read, file, 8 + length + begin, end - begin, dtype, shape))
    return Contents("safetensors", tensors, Settings.from_metadata(notes))


def _read(file: BinaryIO, offset: int, length: int, dtype: str, shape: tuple[int, ...]) -> Array:
    return from_bytes(read_exactly(file, offset, length), dtype).reshape(shape)


def write_safetensors(file: BinaryIO, tensors: Mapping[str, Array], dtype: str, notes: Mapping[str, str]) -> None:
    """Write tensors, floats in `dtype`, and notes on them; the same bytes for the same content, unlike the library.

    Wider elements come first, so that every tensor is aligned, and those of a width by their names.
    """
    dtypes = {name: dtype if tensor.dtype.kind == "f" else tensor.dtype.name for name, tensor in tensors.items()}
    names = sorted(tensors, key=lambda name: (-item_size(dtypes[name]), name))
    names_of_dtypes = {ours: theirs for theirs, ours in _DTYPES.items()}
    header: dict[str, object] = {"__metadata__": dict(notes)}
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].size * item_size(dtypes[name])
        header[name] = {
            "dtype": names_of_dtypes[dtypes[name]],
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        file.write(np.ascontiguousarray(tensors[name], DTYPES[dtypes[name]]).data)
