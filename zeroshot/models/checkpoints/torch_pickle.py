"""Unpickles what torch pickles around its tensors, into inert stand-ins, running nothing.

In torch's zip files a tensor is a call of `torch._utils._rebuild_tensor_v2` on a storage, and a storage is a persistent
id. The unpickler answers each name that weights need with a new stand-in, so that no pickle can change what a later one
meets, and refuses every other name.
"""

import pickle
import pickletools
from collections.abc import Callable
from io import BytesIO
from typing import Any

from zeroshot.models.checkpoints.stored_tensors import DTYPES

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
# What makes the unpickler itself take memory out of proportion, or look outside the pickle.
_OPCODES_REFUSED = ("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "EXT1", "EXT2", "EXT4")
_MOST_DIMENSIONS = 16


class RefusedError(Exception):
    """The pickle asks for something that weights do not need; the text says for what."""


class _Inert:
    """A stand-in. A pickle can set the state of whatever it has at hand; these stay as they were built."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise RefusedError(f"another state of a {type(self).__name__.strip('_').lower()}")


class _Name(_Inert):
    """A dtype or a storage's type, or a function where `function` is given."""

    __slots__ = ("function", "name")

    def __init__(self, name: str, function: Callable[..., object] | None = None) -> None:
        self.name, self.function = name, function

    def __call__(self, *args: object) -> object:
        if self.function is None:
            raise RefusedError(f"a call of {self.name}")
        return self.function(*args)


class Storage(_Inert):
    """`count` elements of `dtype`, in the member `key` of the zip."""

    __slots__ = ("count", "dtype", "key")

    def __init__(self, key: str, dtype: str, count: int) -> None:
        self.key, self.dtype, self.count = key, dtype, count


class Tensor(_Inert):
    """A view of a storage: the element [i, j, …] is its element offset + i·stride[0] + j·stride[1] + …"""

    __slots__ = ("offset", "shape", "storage", "stride")

    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    @property
    def last(self) -> int:
        """The place in the storage of the last element, if there are any."""
        return self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))


class Module:
    """An instance of a `__torch__` class: the name of the class and the instance's attributes, nothing of its code."""

    __slots__ = ("state",)
    qualname = ""

    state: object

    def __new__(cls) -> "Module":
        module = super().__new__(cls)
        module.state = None
        return module

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Mapping(dict[Any, Any]):
    """An `OrderedDict`, without the attributes that torch hangs on it."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


def unpickle(data: bytes) -> object:
    """The dicts, lists, numbers, texts and stand-ins that a pickle holds.

    Raises RefusedError for whatever else it asks for, and errors of many types for a broken one.
    """
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _OPCODES_REFUSED:
            raise RefusedError(f"the opcode {opcode.name}")
        if opcode.name in ("PUT", "LONG_BINPUT") and isinstance(argument, int) and argument > len(data):
            raise RefusedError("a memo larger than itself")
    return _Unpickler(BytesIO(data), encoding="utf-8").load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return type("Module", (Module,), {"__slots__": (), "qualname": f"{module}.{name}"})
        if (module, name) == ("collections", "OrderedDict"):
            return type("_Mapping", (_Mapping,), {"__slots__": ()})
        if module == "torch" and name in STORAGES:
            return _Name(STORAGES[name])
        if module == "torch" and name in DTYPES:
            return _Name(name)
        if (module, name) in _FUNCTIONS:
            return _Name(name, _FUNCTIONS[module, name])
        raise RefusedError(f"'{module}.{name}'")

    def persistent_load(self, pid: Any) -> Storage:
        kind, storage, key, _location, count = pid
        if kind != "storage" or not isinstance(storage, _Name) or storage.function is not None:
            raise ValueError("a persistent id that is no storage")
        if not isinstance(key, str) or not (key.isascii() and key.isdecimal()):
            raise ValueError(f"the storage key {key!r}, which is not a number")
        if not _is_size(count):
            raise ValueError(f"a storage of {count!r} elements")
        return Storage(key, storage.name, count)


def _is_size(number: object) -> bool:
    return type(number) is int and 0 <= number < 2**48


def _rebuild_tensor(storage: object, offset: Any, shape: Any, stride: Any, *_: object) -> Tensor:
    """`torch._utils._rebuild_tensor_v2`; a tensor that reaches past its storage is refused."""
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    tensor = Tensor(storage, offset, tuple(shape), tuple(stride))
    if not all(map(_is_size, (offset, *tensor.shape, *tensor.stride))) or len(tensor.shape) > _MOST_DIMENSIONS:
        raise ValueError("a tensor whose shape, stride or offset is no size")
    if 0 not in tensor.shape and tensor.last >= storage.count:
        raise ValueError(f"a tensor that reaches element {tensor.last} of a storage of {storage.count}")
    return tensor


def _first(value: object, *_: object) -> object:
    return value


_FUNCTIONS: dict[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch", "device"): lambda *_: None,
    ("torch", "Size"): tuple,
    # TorchScript's typed lists and dicts: the value without its type
    ("torch.jit._pickle", "build_intlist"): list,
    ("torch.jit._pickle", "build_doublelist"): list,
    ("torch.jit._pickle", "build_boollist"): list,
    ("torch.jit._pickle", "build_tensorlist"): list,
    ("torch.jit._pickle", "restore_type_tag"): _first,
}
