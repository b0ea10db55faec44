"""An unpickler that admits a few names and runs nothing else: for CIFAR's arrays and for torch's tensors.

Python's own unpickler calls what a file names, with arguments and states from the file. Here every name is looked up
with a function of the caller, which returns an inert stand-in or nothing, and opcodes are checked beforehand.
"""

import pickle
import pickletools
from collections.abc import Callable
from io import BytesIO
from typing import Any

# opcodes that look outside the pickle
REFUSED_OPCODES = ("NEXT_BUFFER", "READONLY_BUFFER", "EXT1", "EXT2", "EXT4")
MOST_OPCODES = 4_000_000  # CIFAR-100's `train` has 300,000

Find = Callable[[str, str], object | None]  # module and name → a stand-in; None refuses the name
PersistentLoad = Callable[[Any], object]


class RefusedError(Exception):
    """The pickle needs something that is not admitted; the text says what."""


class Inert:
    """A stand-in whose state a pickle can't set."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise RefusedError(f"another state of a {type(self).__name__.strip('_').lower()}")


class Name(Inert):
    """A name without a function, or one that calls a function of ours."""

    __slots__ = ("function", "name")

    def __init__(self, name: str, function: Callable[..., object] | None = None) -> None:
        self.name, self.function = name, function

    def __call__(self, *arguments: object) -> object:
        if self.function is None:
            raise RefusedError(f"a call of {self.name}")
        return self.function(*arguments)


def unpickle(data: bytes, find: Find, persistent_load: PersistentLoad | None = None, encoding: str = "utf-8") -> object:
    """The dicts, lists, numbers, texts and stand-ins of a pickle; `encoding` is that of Python 2's strings.

    Raises:
        RefusedError: it needs a name, a call or an opcode that is not admitted.
        Exception: errors of many types for a damaged pickle.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name in REFUSED_OPCODES:
            raise RefusedError(f"the opcode {opcode.name}")
        if opcode.name in ("PUT", "LONG_BINPUT") and isinstance(argument, int) and argument > len(data):
            raise RefusedError("a memo larger than itself")
        if count > MOST_OPCODES:
            raise RefusedError(f"more than {MOST_OPCODES:,} opcodes")
    return _Unpickler(data, find, persistent_load, encoding).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, find: Find, persistent_load: PersistentLoad | None, encoding: str) -> None:
        super().__init__(BytesIO(data), encoding=encoding)
        self._find, self._persistent_load = find, persistent_load

    def find_class(self, module: str, name: str) -> Any:
        found = self._find(module, name)
        if found is None:
            raise RefusedError(f"'{module}.{name}'")
        return found

    def persistent_load(self, pid: Any) -> object:
        if self._persistent_load is None:
            raise RefusedError("a persistent id")
        return self._persistent_load(pid)
