"""What torch pickles around its tensors, as inert stand-ins.

In torch's zip files a tensor is a call of `torch._utils._rebuild_tensor_v2` on a storage, and a storage is a persistent
id. Each name that weights need gets a new stand-in, so that no pickle can change what a later one finds.
"""

from collections.abc import Callable
from typing import Any

from zeroshot.data.restricted_pickle import Inert, Name, unpickle
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
_MOST_DIMENSIONS = 16


class Storage(Inert):
    """`count` elements of `dtype`, in the member `key` of the zip."""

    __slots__ = ("count", "dtype", "key")

    def __init__(self, key: str, dtype: str, count: int) -> None:
        self.key, self.dtype, self.count = key, dtype, count


class Tensor(Inert):
    """A view of a storage: the element [i, j, …] is its element offset + i·stride[0] + j·stride[1] + …"""

    __slots__ = ("offset", "shape", "storage", "stride")

    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    @property
    def last(self) -> int:
        """The index in the storage of the last element, if there are any."""
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
    """An `OrderedDict`, without the attributes that torch adds."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


def load(data: bytes) -> object:
    """The dicts, lists, numbers, texts and stand-ins of a data.pkl.

    Raises:
        RefusedError: it needs something that weights do not need.
        Exception: errors of many types for a damaged pickle.
    """
    return unpickle(data, _find, _storage)


def _find(module: str, name: str) -> object | None:
    if module == "__torch__" or module.startswith("__torch__."):
        return type("Module", (Module,), {"__slots__": (), "qualname": f"{module}.{name}"})
    if (module, name) == ("collections", "OrderedDict"):
        return type("_Mapping", (_Mapping,), {"__slots__": ()})
    if module == "torch" and name in STORAGES:
        return Name(STORAGES[name])
    if module == "torch" and name in DTYPES:
        return Name(name)
    if (module, name) in _FUNCTIONS:
        return Name(name, _FUNCTIONS[module, name])
    return None


def _storage(pid: Any) -> Storage:
    kind, storage, key, _location, count = pid
    if kind != "storage" or not isinstance(storage, Name) or storage.function is not None:
        raise ValueError("a persistent id that is not a storage")
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
        raise ValueError("a tensor with an invalid shape, stride or offset")
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
    ("torch", "Size"): _first,
    # TorchScript's typed lists and dicts: the value without its type, not a copy, of which a file could ask many
    ("torch.jit._pickle", "build_intlist"): _first,
    ("torch.jit._pickle", "build_doublelist"): _first,
    ("torch.jit._pickle", "build_boollist"): _first,
    ("torch.jit._pickle", "build_tensorlist"): _first,
    ("torch.jit._pickle", "restore_type_tag"): _first,
}
