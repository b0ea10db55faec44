"""A pickle of numbers, texts and arrays, read as data: nothing in it is imported or called.

Python's own unpickler calls what the file names, with the arguments that the file gives, and even an admitted numpy
function can be given a state that breaks it. Here the opcodes are walked (`pickletools.genops`), a call is only written
down, and an array is made from the few forms in which numpy has ever written one. Protocols 2 to 5, as Python 2 and
Python 3 write them; the format is described in the source of Python's `pickletools`.
"""

import math
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 2_000_000  # CIFAR-100's `train` takes 300,000: a bound on the time and memory that a hostile file can cost
MODULES = {"numpy._core.multiarray": "numpy.core.multiarray", "numpy._core.numeric": "numpy.core.numeric"}
RECONSTRUCT, FROMBUFFER = "numpy.core.multiarray._reconstruct", "numpy.core.numeric._frombuffer"
NDARRAY, DTYPE, ENCODE = "numpy.ndarray", "numpy.dtype", "_codecs.encode"
INTEGERS = {"b1": 1, "i1": 1, "u1": 1, "i2": 2, "u2": 2, "i4": 4, "u4": 4, "i8": 8, "u8": 8}
PLAIN = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


@dataclass(frozen=True, eq=False)
class Name:
    """Something that the pickle wants imported, and isn't."""

    text: str


@dataclass(eq=False)
class Call:
    """A call that the pickle wants made, and isn't: the callee, its arguments, and the state set afterwards."""

    callee: str
    arguments: tuple[object, ...]
    state: object = None


def load(data: bytes) -> dict[str, object]:
    """The dictionary that the pickle holds, byte keys as text; its arrays await `array`. Raises ValueError."""
    try:
        value = _walk(data)
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("its structure is broken") from error
    if not isinstance(value, dict):
        raise ValueError("it holds no dictionary")
    return value


def array(value: object) -> NDArray[np.generic]:
    """An array of integers out of what `load` returned, read-only; raises ValueError if it is anything else."""
    match value:
        case Call(callee, (Name(text), _, _), (_, tuple(shape), dtype, bool(fortran), data)) if (
            callee == RECONSTRUCT and text == NDARRAY
        ):
            order = "F" if fortran else "C"
        case Call(callee, (data, dtype, tuple(shape), "C" | "F" as order)) if callee == FROMBUFFER:
            pass
        case _:
            raise ValueError("an array is wanted where it holds something else")
    kind = _dtype(dtype)
    if isinstance(data, str):  # what Python 2 calls a string
        data = data.encode("latin-1")
    if not isinstance(data, bytes | bytearray):
        raise ValueError("an array's values are not bytes")
    if len(shape) > 4 or not all(type(extent) is int and 0 <= extent < 1 << 32 for extent in shape):
        raise ValueError("an array's shape is broken")
    if not data or math.prod(shape) * kind.itemsize != len(data):
        raise ValueError(f"an array has {len(data):,} bytes, which its shape {shape} does not fit")
    values: NDArray[np.generic] = np.frombuffer(data, kind).reshape(shape, order="F" if order == "F" else "C")
    values.setflags(write=False)
    return values


def _dtype(value: object) -> np.dtype[np.generic]:
    match value:
        case Call(callee, (str(code), *_), (_, str(order), *_)) if callee == DTYPE:
            if code in INTEGERS and order in ("<", ">", "=", "|"):
                return np.dtype(order.replace("|", "=") + code)
            raise ValueError(f"an array of type {code[:20]!a} is not one of integers")
    raise ValueError("an array has no type")


def _walk(data: bytes) -> object:
    stack: list[object] = []
    outer: list[list[object]] = []  # the stacks below each open mark
    memo: dict[int, object] = {}

    def marked() -> list[object]:
        """Takes what lies above the last mark; `stack` is another list afterwards."""
        nonlocal stack
        items, stack = stack, outer.pop()
        return items

    argument: Any  # of the type that the opcode's definition in pickletools says
    for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if step > STEPS:
            raise ValueError(f"it has over {STEPS:,} opcodes")
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case name if name in PLAIN:
                stack.append(argument)
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "MARK":
                outer.append(stack)
                stack = []
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE":
                items = marked()
                stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                count = int(name[-1])
                items = [stack.pop() for _ in range(count)]
                stack.append(tuple(reversed(items)))
            case "APPEND" | "APPENDS" as name:
                items = [stack.pop()] if name == "APPEND" else marked()
                _list(stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS" as name:
                items = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else marked()
                if len(items) % 2:
                    raise ValueError("a dictionary's key has no value")
                _dict(stack[-1]).update(zip(map(_key, items[::2]), items[1::2], strict=True))
            case "GLOBAL":
                stack.append(_name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(_name(module, attribute))
            case "REDUCE":
                arguments, callee = stack.pop(), stack.pop()
                stack.append(_call(callee, arguments))
            case "BUILD":
                state, call = stack.pop(), stack[-1]
                if not isinstance(call, Call):
                    raise ValueError("it sets the state of something that is no array")
                call.state = state
            case "STOP":
                return stack.pop()
            case name:
                raise ValueError(f"it holds the opcode {name}, which no file of arrays needs")
    raise ValueError("it has no end")


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("it appends to something that is no list")
    return value


def _dict(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("it sets items of something that is no dictionary")
    return value


def _key(value: object) -> str:
    """A dictionary's key as text: Python 2 and `encoding="bytes"` leave bytes."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str):
        return value
    raise ValueError("a dictionary's key is no text")


def _name(module: object, attribute: object) -> Name:
    if not isinstance(module, str) or not isinstance(attribute, str):
        raise ValueError("it asks for something that has no name")
    name = f"{MODULES.get(module, module)}.{attribute}"
    if name not in (RECONSTRUCT, FROMBUFFER, NDARRAY, DTYPE, ENCODE):
        raise ValueError(f"it asks for {name[:80]!a}, and only numpy arrays are admitted: nothing was run")
    return Name(name)


def _call(callee: object, arguments: object) -> object:
    if not isinstance(callee, Name) or not isinstance(arguments, tuple):
        raise ValueError("it calls something that is no function")
    if callee.text == ENCODE:  # how protocol 2 of Python 3 writes bytes
        match arguments:
            case (str(text), "latin1" | "latin-1"):
                return text.encode("latin-1")
        raise ValueError("it holds bytes in an unknown coding")
    return Call(callee.text, arguments)
