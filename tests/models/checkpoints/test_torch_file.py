"""Torch's zip files: every layout of a tensor is read right, and a pickle gets nothing but stand-ins."""

import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.checkpoints.checkpoint_files import (
    TORCH_STORAGES,
    Array,
    Build,
    Call,
    Global,
    New,
    Persistent,
    Raw,
    TorchFile,
    as_read,
    pickled,
    script_tree,
    steps,
    storage,
    stored_bytes,
    tensor,
)
from zeroshot.data.restricted_pickle import RefusedError
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.torch_file import read_torch
from zeroshot.models.checkpoints.torch_pickle import load as unpickle

VALUES = np.linspace(-3, 3, 60, dtype=np.float32)
REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
MODULE = New(Global("__torch__.a", "B"))


def read(path: Path) -> dict[str, Array]:
    """Every tensor of a file."""
    with path.open("rb") as file:
        return {name: stored.read() for name, stored in read_torch(file, path).tensors.items()}


@pytest.mark.parametrize("dtype", TORCH_STORAGES)
def test_every_dtype_is_read(dtype: str, tmp_path: Path) -> None:
    values = VALUES if "float" in dtype else np.arange(60).astype(dtype)
    made = TorchFile()
    made.storages["0"] = stored_bytes(values, dtype)
    found = read(made.write(tmp_path / "a.pt", {"a": tensor(storage("0", dtype, 60), 0, (60,), (1,))}))["a"]
    assert found.dtype == np.dtype("float32" if dtype == "bfloat16" else dtype)
    assert np.array_equal(found, as_read(values, dtype) if "float" in dtype and dtype != "float64" else values)


def test_a_bfloat16_is_the_upper_half_of_a_float32(tmp_path: Path) -> None:
    made = TorchFile()
    made.storages["0"] = np.array([0x3F80, 0xC000, 0x7F7F, 0x0001, 0x8000, 0x7F80], "<u2").tobytes()
    found = read(made.write(tmp_path / "a.pt", {"a": tensor(storage("0", "bfloat16", 6), 0, (6,), (1,))}))["a"]
    expected = [1.0, -2.0, 3.3895313892515355e38, 9.183549615799121e-41, -0.0, np.inf]
    assert found.tolist() == expected
    assert np.signbit(found[4])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_view_is_what_numpy_sees_there(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any offset, shape and stride: tied, transposed, overlapping and repeated elements, in any dtype."""
    dtype = data.draw(st.sampled_from(["float32", "float16", "bfloat16", "int64"]))
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=4)))
    stride = tuple(data.draw(st.integers(0, 6)) for _ in shape)
    offset = data.draw(st.integers(0, 10))
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) if 0 not in shape else 0
    count = last + 1 + data.draw(st.integers(0, 5))
    values = np.arange(count, dtype=np.int64 if dtype == "int64" else np.float32)
    made = TorchFile()
    made.storages["7"] = stored_bytes(values, dtype)
    tree = {"a": tensor(storage("7", dtype, count), offset, shape, stride), "all": made_whole("7", dtype, count)}
    found = read(made.write(tmp_path_factory.getbasetemp() / "view.pt", tree))
    assert np.array_equal(found["all"], values)
    assert found["a"].shape == shape
    assert found["a"].flags.c_contiguous
    for place in np.ndindex(shape):
        assert found["a"][place] == values[offset + sum(i * step for i, step in zip(place, stride, strict=True))]


def made_whole(key: str, dtype: str, count: int) -> Call:
    return tensor(storage(key, dtype, count), 0, (count,), (1,))


def test_parameters_wrappers_and_attributes_change_nothing(tmp_path: Path) -> None:
    made = TorchFile()
    plain = made.add(VALUES.reshape(6, 10))
    parameter = Call(
        Global("torch._utils", "_rebuild_parameter"), (plain, True, Call(Global("collections", "OrderedDict")))
    )
    with_state = Call(Global("torch._utils", "_rebuild_parameter_with_state"), (plain, True, {}, {"tag": 1}))
    pairs = [["module.a", plain], ["module.b", parameter], ["module.c", with_state]]
    ordered = Build(Call(Global("collections", "OrderedDict"), (pairs,)), {"_metadata": {"": {"version": 1}}})
    device = Call(Global("torch", "device"), ("cuda", 0))
    wrapper = {"epoch": 3, "device": device, "dtype": Global("torch", "float16"), "state_dict": ordered, "size": None}
    for tree in (ordered, wrapper, {"model_state_dict": ordered}):
        found = read(made.write(tmp_path / "a.pt", tree))
        assert list(found) == ["a", "b", "c"]
        for values in found.values():
            assert np.array_equal(values, VALUES.reshape(6, 10))


def test_a_prefix_is_taken_off_where_all_have_it(tmp_path: Path) -> None:
    made = TorchFile()
    tree = {"module.a": made.add(VALUES), "b": made.add(VALUES)}
    assert list(read(made.write(tmp_path / "a.pt", tree))) == ["module.a", "b"]


def test_an_archive_gives_its_tensors_by_their_dotted_names(tmp_path: Path) -> None:
    made = TorchFile()
    leaves: dict[str, object] = {f"a.resblocks.{n}.weight": made.add(VALUES + n) for n in range(12)}
    leaves["n_head"] = 8
    leaves["grid"] = Call(Global("torch.jit._pickle", "build_intlist"), ([7, 7],))
    leaves["mask"] = Call(Global("torch.jit._pickle", "restore_type_tag"), (None, "Optional[Tensor]"))
    leaves["empty"] = MODULE
    found = read(made.write(tmp_path / "a.pt", script_tree(leaves)))
    assert set(found) == {f"a.resblocks.{n}.weight" for n in range(12)}
    for n in range(12):
        assert np.array_equal(found[f"a.resblocks.{n}.weight"], VALUES + n)


def test_blocks_of_different_activations_are_refused(tmp_path: Path) -> None:
    made = TorchFile()
    blocks = {
        f"blocks.{n}.mlp": Build(MODULE, {"gelu": New(Global("__torch__.nn", kind))})
        for n, kind in enumerate(["GELU", "SiLU"])
    }
    with pytest.raises(ZeroshotError, match=r"different activations \(GELU, SiLU\)"):
        read(made.write(tmp_path / "a.pt", script_tree(dict(blocks))))


def test_a_module_that_holds_itself_ends(tmp_path: Path) -> None:
    """The memo lets a pickle make a module that is its own attribute, or many that share the next one."""
    loop = Raw(b"c__torch__.a\nB\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb")
    with pytest.raises(ZeroshotError, match="nested over 32 deep"):
        read(TorchFile().write(tmp_path / "a.pt", loop))
    shared = b"c__torch__.a\nB\n)\x81q\x00"
    for place in range(1, 25):
        last, this = bytes([place - 1]), bytes([place])
        children = b"}(X\x01\x00\x00\x00ah" + last + b"X\x01\x00\x00\x00bh" + last + b"u"
        shared += b"0c__torch__.a\nB\n)\x81" + children + b"bq" + this
    with pytest.raises(ZeroshotError, match="more than 131072 objects"):
        read(TorchFile().write(tmp_path / "a.pt", Raw(shared)))


def test_big_endian_files_are_refused(tmp_path: Path) -> None:
    made = TorchFile()
    tree = {"a": made.add(VALUES)}
    with pytest.raises(ZeroshotError, match="big-endian"):
        read(made.write(tmp_path / "a.pt", tree, {"byteorder": b"big"}))


def test_a_file_of_old_torch_has_no_byte_order(tmp_path: Path) -> None:
    made = TorchFile()
    path = made.write(tmp_path / "a.pt", {"a": made.add(VALUES)})
    with zipfile.ZipFile(path) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if "byteorder" not in name}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)
    assert np.array_equal(read(path)["a"], VALUES)


# what a pickle may not do


class RunsCode:
    """Pickled by Python itself, with whatever protocol."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch the-pickle-ran",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_refused_in_every_protocol(protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedError, match=r"'(posix|nt)\.system'"):
        unpickle(pickle.dumps({"a": RunsCode()}, protocol))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("__builtin__", "eval"),
        ("zeroshot.models.checkpoints.load", "save"),
        ("zeroshot.models.checkpoints.torch_pickle", "unpickle"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("torch", "load"),
        ("torch", "FloatTensor"),
        ("torch.jit._pickle", "build_anything"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("collections", "OrderedDict.fromkeys"),
        ("collections", "defaultdict"),
        ("__torch", "B"),
        ("__torch__x", "B"),
        ("copyreg", "_reconstructor"),
    ],
)
def test_no_other_name_is_admitted(module: str, name: str) -> None:
    for value in (Global(module, name), [Call(Global(module, name), ("x",))], New(Global(module, name))):
        with pytest.raises(RefusedError) as caught:
            unpickle(pickled(value))
        assert f"'{module}.{name}'" in str(caught.value)
    short = struct.pack("B", len(module)) + module.encode(), struct.pack("B", len(name)) + name.encode()
    with pytest.raises(RefusedError):
        unpickle(b"\x80\x04\x8c" + short[0] + b"\x8c" + short[1] + b"\x93.")


ID = ("storage", Global("torch", "FloatStorage"), "0", "cpu", 4)
TENSOR = tensor(Persistent(ID), 0, (4,), (1,))


@pytest.mark.parametrize(
    "value",
    [
        Build(REBUILD, {"function": 1}),
        Build(REBUILD, (None, {"function": 1})),
        Build(Global("torch", "FloatStorage"), {"name": "float64"}),
        Build(Global("torch", "float16"), (None, {"name": "float64"})),
        Build(Persistent(ID), {"count": 10**9}),
        Build(Persistent(ID), (None, {"count": 10**9})),
        Build(TENSOR, {"shape": (10**9,)}),
        Build(TENSOR, (None, {"shape": (10**9,)})),
        Build(Global("collections", "OrderedDict"), (None, {"__setstate__": 1})),
        Build(Global("__torch__.a", "B"), (None, {"__setstate__": 1})),
        Call(Global("torch", "FloatStorage"), (1,)),
        Call(Global("torch", "float16")),
        New(REBUILD, (1,)),
        New(Global("__torch__.a", "B"), (1, 2)),
        Persistent("text"),
        Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", -1)),
        Persistent(("storage", Global("torch", "FloatStorage"), "0", "cpu", 2.0)),
        Persistent(("storage", Global("torch", "FloatStorage"), 0, "cpu", 4)),
        Persistent(("storage", REBUILD, "0", "cpu", 4)),
        Persistent(("module", Global("torch", "FloatStorage"), "0", "cpu", 4)),
        tensor("text", 0, (1,), (1,)),
        tensor(Persistent(ID), 0, (1, 1), (1,)),
        tensor(Persistent(ID), 0.0, (1,), (1,)),  # type: ignore[arg-type]
        tensor(Persistent(ID), True, (1,), (1,)),
        tensor(Persistent(ID), 0, (2**62, 2**62), (0, 0)),
        tensor(Persistent(ID), 0, (1,) * 17, (1,) * 17),
        tensor(Persistent(ID), 5, (1,), (1,)),
        Raw(b"\x82\x01"),
        Raw(b"r\xff\xff\xff\x7f"),
        Raw(b"Np999999999\n"),
        Raw(b"\x96\xff\xff\xff\xff\xff\x00\x00\x00"),
        Raw(b"\x8e\xff\xff\xff\xff\xff\x00\x00\x00"),
        Raw(b"\x8b\xff\xff\xff\x7f"),
        Raw(b"I" + b"9" * 5000 + b"\n"),
        Raw(b"h\x09"),
        Raw(b"b"),
        Raw(b"("),
        Raw(b"\xff"),
    ],
    ids=repr,
)
def test_nothing_a_pickle_has_can_be_bent(value: object, tmp_path: Path) -> None:
    path = TorchFile().write(tmp_path / "a.pt", {"a": value})
    with pytest.raises(ZeroshotError, match=r"a\.pt: "):
        read(path)


def test_one_pickle_changes_nothing_for_the_next(tmp_path: Path) -> None:
    made = TorchFile()
    sound = {"a": made.add(VALUES)}
    for target in (Global("__torch__.a", "B"), Global("collections", "OrderedDict"), REBUILD):
        with pytest.raises(ZeroshotError):
            read(TorchFile().write(tmp_path / "bad.pt", {"a": Build(target, (None, {"shape": 1, "keys": 2}))}))
        assert np.array_equal(read(made.write(tmp_path / "a.pt", sound))["a"], VALUES)


def test_an_ordered_dict_keeps_its_methods() -> None:
    """An attribute that a pickle hangs on a dict must not stand in for `items`."""
    found = unpickle(pickled(Build(Call(Global("collections", "OrderedDict"), ([["a", 1]],)), {"items": 1, "keys": 2})))
    assert isinstance(found, dict)
    assert dict(found.items()) == {"a": 1}


def test_a_member_that_reaches_into_the_next_is_found(tmp_path: Path) -> None:
    """The zip's table announces more bytes than the member has, and the pickle needs them."""
    made = TorchFile()
    made.storages = {"0": bytes(4 * 60), "1": bytes(4 * 200)}
    path = made.write(tmp_path / "a.pt", {"a": tensor(storage("0", "float32", 160), 0, (160,), (1,))})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"archive/data/0") - 46
    for field in (entry + 20, entry + 24):  # the packed size and the whole
        content[field : field + 4] = struct.pack("<I", 4 * 160)
    path.write_bytes(content)
    with pytest.raises(ZeroshotError, match=r"'archive/data/0' reaches into what follows it"):
        read(path)


def test_steps_are_numpys() -> None:
    """The writer's own strides."""
    array = np.zeros((3, 4, 5), np.int8)
    assert steps(array.shape) == array.strides
