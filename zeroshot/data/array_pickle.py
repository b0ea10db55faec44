"""A pickle of numbers, texts and integer arrays, such as CIFAR's, read without running anything.

An array is built from the forms in which numpy has ever pickled one, by Python 2 and Python 3, in protocols 2 to 5.
"""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.restricted_pickle import Inert, Name, RefusedError, unpickle

INTEGERS = ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


class _DType(Inert):
    """`numpy.dtype(code, …)` with the byte order of its state."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: object) -> None:
        match state:
            case (_, str(order), *_):
                self.order = order
            case _:
                raise ValueError("a dtype with a broken state")

    def resolved(self) -> np.dtype[np.generic]:
        if self.code not in INTEGERS or self.order not in ("<", ">", "=", "|"):
            raise ValueError(f"an array of type {str(self.code)[:20]!a} is not one of integers")
        return np.dtype(self.order.replace("|", "=") + str(self.code))


class _Array(Inert):
    """An array of a shape, dtype and order, and its bytes."""

    __slots__ = ("data", "dtype", "order", "shape")

    def __init__(self, shape: object = None, dtype: object = None, order: object = None, data: object = None) -> None:
        self.shape, self.dtype, self.order, self.data = shape, dtype, order, data

    def __setstate__(self, state: object) -> None:
        match state:
            case (_, tuple(shape), dtype, bool(fortran), data):
                self.__init__(shape, dtype, "F" if fortran else "C", data)  # type: ignore[misc]
            case _:
                raise ValueError("an array with a broken state")


def load(data: bytes) -> dict[str, object]:
    """The dictionary in a pickle, byte keys as text; its arrays await `array`.

    Raises:
        ValueError: it is damaged, not a dictionary, or contains anything but arrays and plain values.
    """
    try:
        value = unpickle(data, partial(_find, _Encoder(len(data))), encoding="latin-1")
    except RefusedError as error:
        raise ValueError(f"it contains {error}, and only integer arrays are read: nothing was run") from error
    except Exception as error:  # a damaged pickle raises errors of many types
        raise ValueError(f"it is damaged ({error or type(error).__name__})") from error
    if not isinstance(value, dict):
        raise ValueError("it is not a dictionary")
    return {_key(key): item for key, item in value.items()}


def array(value: object) -> NDArray[np.generic]:
    """An integer array from what `load` returned, read-only. Raises ValueError if it is anything else."""
    if not isinstance(value, _Array) or not isinstance(value.dtype, _DType) or not isinstance(value.shape, tuple):
        raise ValueError("not an array")
    kind = value.dtype.resolved()
    data: Any = value.data.encode("latin-1") if isinstance(value.data, str) else value.data  # Python 2's strings
    if not isinstance(data, bytes | bytearray):
        raise ValueError("an array whose values are not bytes")
    if len(value.shape) > 4 or not all(type(extent) is int and 0 <= extent < 1 << 32 for extent in value.shape):
        raise ValueError("an array with a broken shape")
    if not data or math.prod(value.shape) * kind.itemsize != len(data):
        raise ValueError(f"an array of {len(data):,} bytes, which do not fit its shape {value.shape}")
    order = "F" if value.order == "F" else "C"
    values: NDArray[np.generic] = np.frombuffer(data, kind).reshape(value.shape, order=order)  # type: ignore[call-overload]
    values.setflags(write=False)
    return values


def _find(encoder: "_Encoder", module: str, name: str) -> object | None:
    module = module.replace("numpy._core.", "numpy.core.")
    match module, name:
        case "numpy", "ndarray":
            return Name("numpy.ndarray")
        case "numpy", "dtype":
            return Name("numpy.dtype", _DType)
        case "numpy.core.multiarray", "_reconstruct":
            return Name("_reconstruct", _reconstruct)
        case "numpy.core.numeric", "_frombuffer":
            return Name("_frombuffer", _from_buffer)
        case "_codecs", "encode":
            return Name("encode", encoder)
    return None


def _reconstruct(kind: object, *_: object) -> _Array:
    if not isinstance(kind, Name) or kind.name != "numpy.ndarray":
        raise ValueError("an array of another class")
    return _Array()


def _from_buffer(data: object, dtype: object, shape: object, order: object, *_: object) -> _Array:
    return _Array(shape, dtype, order, data)


class _Encoder:
    """`_codecs.encode`, which turns a text into the bytes that it stands for: each once, so they fit in the file."""

    def __init__(self, room: int) -> None:
        self._room = room  # bytes

    def __call__(self, text: object, coding: object = "") -> bytes:
        if not isinstance(text, str) or coding not in ("latin1", "latin-1"):
            raise ValueError("bytes in an unknown encoding")
        self._room -= len(text)
        if self._room < 0:
            raise ValueError("more bytes than the file has")
        return text.encode("latin-1")


def _key(key: object) -> str:
    """A dictionary's key as text: Python 2 and `encoding="bytes"` leave bytes."""
    if isinstance(key, bytes):
        return key.decode("latin-1")
    if isinstance(key, str):
        return key
    raise ValueError("a dictionary whose keys are not text")
