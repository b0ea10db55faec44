"""Pickled integer arrays are read, and nothing else is admitted, run or imported."""

import builtins
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.data.cifar_files import python2, python3
from zeroshot.data import array_pickle, restricted_pickle

KINDS = arrays.integer_dtypes() | arrays.unsigned_integer_dtypes()


@given(
    values=arrays.arrays(KINDS, arrays.array_shapes(max_dims=3, max_side=5)),
    fortran=st.booleans(),
    protocol=st.integers(2, 5),
)
def test_integer_arrays_of_python_3_are_read(values: np.ndarray[Any, Any], fortran: bool, protocol: int) -> None:
    stored = np.asfortranarray(values) if fortran else values
    read = array_pickle.array(array_pickle.load(python3({"data": stored}, protocol))["data"])
    assert read.dtype == values.dtype
    assert np.array_equal(read, values)


@given(values=arrays.arrays(KINDS, arrays.array_shapes(max_dims=3, max_side=5)))
def test_integer_arrays_of_python_2_are_read(values: np.ndarray[Any, Any]) -> None:
    read = array_pickle.array(array_pickle.load(python2({"data": values}))["data"])
    assert read.dtype == values.dtype
    assert np.array_equal(read, values)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("byte_keys", [False, True])
def test_plain_values_are_read(protocol: int, byte_keys: bool) -> None:
    values = {"names": ["a", "b"], "count": 70000, "negative": -3, "large": 1 << 70, "half": 0.5, "none": None}
    values |= {"true": True, "pair": (1, (2, 3, 4, 5)), "nothing": [], "blank": (), "again": "a" * 300}
    read = array_pickle.load(python3(values, protocol, byte_keys))
    assert read.pop("names") == ([b"a", b"b"] if byte_keys else ["a", "b"])
    assert read.pop("again") == (b"a" * 300 if byte_keys else "a" * 300)
    assert read == {key: value for key, value in values.items() if key not in ("names", "again")}


def test_an_array_is_read_only() -> None:
    read = array_pickle.array(array_pickle.load(python3({"data": np.zeros(3, np.int64)}, 5))["data"])
    with pytest.raises(ValueError, match="read-only"):
        read[0] = 1


class Calls:
    """Pickles as a call of the function with the arguments."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "call",
    [
        lambda mark: Calls(os.system, f"touch {mark}"),
        lambda mark: Calls(builtins.eval, f"open({mark!r}, 'w')"),
        lambda mark: Calls(builtins.exec, f"open({mark!r}, 'w')"),
        lambda mark: Calls(open, mark, "w"),
        lambda mark: Calls(os.mkdir, mark),
        lambda mark: Calls(np.save, mark, 1),
        lambda mark: Calls(OrderedDict, [(mark, 1)]),
    ],
)
def test_a_call_is_refused_and_not_made(protocol: int, call: Callable[[str], Calls], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    data = pickle.dumps({"data": call(str(mark))}, protocol)
    with pytest.raises(ValueError, match=r"nothing was run|it is damaged"):
        array_pickle.load(data)
    assert not list(tmp_path.iterdir())


def test_the_refusal_names_the_function() -> None:
    with pytest.raises(ValueError, match=r"posix\.system|nt\.system"):
        array_pickle.load(pickle.dumps({"data": Calls(os.system, "true")}, 2))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "exhausted"),
        (b"\x80\x02}", "exhausted"),
        (b"\x80\x02.", "damaged"),
        (b"\x80\x02].", "not a dictionary"),
        (b"\x80\x02}e.", "damaged"),
        (b"\x80\x02}h\x05.", "damaged"),
        (b"\x80\x02}(K\x01K\x02u.", "keys are not text"),
        (b"\x80\x02}((tK\x02u.", "keys are not text"),
        (b"\x80\x02}(U\x01au.", "damaged"),
        (b"\x80\x02N(K\x01e.", "damaged"),
        (b"\x80\x02N(U\x01aK\x01u.", "damaged"),
        (b"\x80\x02}}b.", "damaged|another state"),
        (b"\x80\x02}K\x01)R.", "damaged|a call of"),
        (b"\x80\x02cnumpy\ndtype\nNb.", "damaged|another state"),
        (b"\x80\x02cnumpy\ndtype\nNR.", "damaged|a call of"),
        (b"\x80\x02c_codecs\nencode\nU\x01aU\x03rot\x86R.", "unknown encoding"),
        (b"\x80\x02cos\nsystem\n.", r"os\.system"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\n.", "scalar"),
        (b"\x80\x04]]\x93.", "damaged"),
        (b"\x80\x02(ios\nsystem\n.", r"os\.system"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "damaged|a call of"),
        (b"\x80\x02\x82\x01.", "opcode EXT1"),
        (b"\x80\x02Pname\n.", "a persistent id"),
    ],
)
def test_a_damaged_or_unexpected_pickle_is_refused(data: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        array_pickle.load(data)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([None]), "'O8' is not one of integers"),
        (np.array([1.5]), "'f8' is not one of integers"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "is not one of integers"),
        (np.array([b"a"]), "is not one of integers"),
        (np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]), "is not one of integers"),
        (np.zeros((0, 3), np.uint8), "bytes"),
        (np.zeros((1, 1, 1, 1, 1), np.uint8), "broken shape"),
        ([1, 2], "not an array"),
        (None, "not an array"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_anything_but_integer_arrays_is_refused(values: object, expected: str, protocol: int) -> None:
    data = pickle.dumps({"data": values}, protocol)
    with pytest.raises(ValueError, match=expected):
        array_pickle.array(array_pickle.load(data)["data"])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (b"K\x07", r"do not fit its shape \(7,\)"),
        (b"J\xff\xff\xff\x7f" * 3, "do not fit"),
        (b"J\xff\xff\xff\xffJ\xfa\xff\xff\xff", "broken shape"),
        (b"K\x02G" + struct.pack(">d", 3.0), "broken shape"),
        (b"U\x01a", "broken shape"),
        (b"\x8a\x09" + b"\xff" * 8 + b"\x0f", "broken shape"),
    ],
)
def test_a_shape_that_its_bytes_do_not_fit_is_refused(shape: bytes, expected: str) -> None:
    good = python2({"data": np.zeros((2, 3), np.uint8)})
    bad = good.replace(b"(K\x02K\x03t", b"(" + shape + b"t")
    assert bad != good
    with pytest.raises(ValueError, match=expected):
        array_pickle.array(array_pickle.load(bad)["data"])


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02]r\xff\xff\xff\xff.",  # a memo index for which Python's own unpickler takes 64 GB
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x02T" + struct.pack("<i", (1 << 31) - 1) + b".",
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b".",
        b"\x80\x02]" + b"\x85" * 50_000 + b".",  # a tuple in a tuple in a tuple …
        b"\x80\x02}(]" + b"\x85" * 50_000 + b"K\x01u.",
    ],
    ids=["memo", "bytearray", "string", "text", "deep", "deep key"],
)
def test_a_small_file_takes_little_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"memo|damaged|dictionary"):
            array_pickle.load(data)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_the_number_of_steps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted_pickle, "MOST_OPCODES", 100)
    with pytest.raises(ValueError, match="more than 100 opcodes"):
        array_pickle.load(b"\x80\x02" + b"}" * 200 + b".")


@given(st.binary(max_size=200))
def test_any_bytes_give_a_dictionary_or_a_value_error(data: bytes) -> None:
    for start in (b"", b"\x80\x02}(", b"\x80\x04cnumpy\ndtype\n"):
        with suppress(ValueError):
            assert isinstance(array_pickle.load(start + data), dict)


def test_a_text_that_is_encoded_again_and_again_takes_no_memory() -> None:
    text = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    encoded = b"c_codecs\nencode\n(h\x00X\x06\x00\x00\x00latin1tR"
    data = b"\x80\x02" + text + b"q\x00" + b"]" + b"(" + encoded * 300 + b"e."
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more bytes than the file has"):
            array_pickle.load(data)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
