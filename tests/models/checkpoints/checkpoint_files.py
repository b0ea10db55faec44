"""Writes checkpoints in every format that is read, without the libraries that others write them with."""

import json
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tensors = Mapping[str, Array]

SAFETENSORS_DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}
TORCH_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def stored_bytes(values: Array, dtype: str) -> bytes:
    """The bytes of `values` in `dtype`; to bfloat16 they are cut, not rounded."""
    if dtype == "bfloat16":
        return (np.ascontiguousarray(values, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return np.ascontiguousarray(values, np.dtype(dtype)).tobytes()


def as_read(values: Array, dtype: str) -> NDArray[np.float32]:
    """What float32 is left of float32 `values` once they were stored in `dtype`."""
    if dtype == "bfloat16":
        return (np.ascontiguousarray(values, "<f4").view("<u4") >> 16 << 16).view("<f4").reshape(values.shape)
    return np.asarray(values.astype(dtype), np.float32)


def halves(tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    """The same weights as float16 and bfloat16 both hold them exactly: seven bits, none of them too small."""
    coarse = {name: as_read(values, "bfloat16") for name, values in tensors.items()}
    return {name: np.where(np.abs(values) < 1e-4, np.float32(0), values) for name, values in coarse.items()}


# Hugging Face's and MindFormers' names, spelled out apart from the package's own table


def huggingface_names(tensors: Tensors) -> dict[str, Array]:
    """The tensors as a CLIPModel's: q, k and v apart, the projections the other way round."""
    renamed: dict[str, Array] = {}
    for name, values in tensors.items():
        tower = "vision_model" if name.startswith("visual.") else "text_model"
        here = name.removeprefix("visual.")
        if here.startswith("transformer.resblocks."):
            _, _, layer, rest = here.split(".", 3)
            place = f"{tower}.encoder.layers.{layer}"
            if rest.startswith("attn.in_proj_"):
                for part, rows in zip("qkv", np.split(values, 3), strict=True):
                    renamed[f"{place}.self_attn.{part}_proj.{rest.removeprefix('attn.in_proj_')}"] = rows
                continue
            module, kind = rest.rsplit(".", 1)
            there = {
                "ln_1": "layer_norm1",
                "ln_2": "layer_norm2",
                "attn.out_proj": "self_attn.out_proj",
                "mlp.c_fc": "mlp.fc1",
                "mlp.c_proj": "mlp.fc2",
            }
            renamed[f"{place}.{there[module]}.{kind}"] = values
        elif here == "proj":
            renamed["visual_projection.weight"] = values.T
        elif here == "text_projection":
            renamed["text_projection.weight"] = values.T
        elif here == "logit_scale":
            renamed[here] = values
        else:
            there = {
                "class_embedding": "embeddings.class_embedding",
                "conv1.weight": "embeddings.patch_embedding.weight",
                "token_embedding.weight": "embeddings.token_embedding.weight",
                "positional_embedding": "embeddings.position_embedding.weight",
                "ln_pre.weight": "pre_layrnorm.weight",
                "ln_pre.bias": "pre_layrnorm.bias",
                "ln_post.weight": "post_layernorm.weight",
                "ln_post.bias": "post_layernorm.bias",
                "ln_final.weight": "final_layer_norm.weight",
                "ln_final.bias": "final_layer_norm.bias",
            }
            renamed[f"{tower}.{there[here]}"] = values
    return renamed


def mindformers_names(tensors: Tensors) -> dict[str, Array]:
    """The tensors as MindFormers' convert_weight.py calls them."""
    renamed = {}
    for name, values in tensors.items():
        here = name
        if "ln_" in name:
            here = name.removesuffix("weight") + "gamma" if name.endswith("weight") else name[: -len("bias")] + "beta"
        here = here.replace("in_proj_weight", "in_proj.weight").replace("in_proj_bias", "in_proj.bias")
        renamed[here.replace("token_embedding.weight", "token_embedding.embedding_table")] = values
    return renamed


# safetensors, by hand, since the library's numpy side has no bfloat16


def write_safetensors(path: Path, tensors: Tensors, dtype: str = "float32", **notes: str) -> Path:
    """A safetensors file; integers keep their dtype."""
    header: dict[str, Any] = {"__metadata__": notes} if notes else {}
    blobs, end = [], 0
    for name, values in tensors.items():
        kept = str(values.dtype) if values.dtype.kind == "i" else dtype
        blob = stored_bytes(values, kept)
        offsets = [end, end := end + len(blob)]
        header[name] = {"dtype": SAFETENSORS_DTYPES[kept], "shape": list(values.shape), "data_offsets": offsets}
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
    return path


# torch's zip, by hand: a pickle of protocol 2 that names torch's functions without importing them


@dataclass(frozen=True)
class Global:
    """A name that the pickle needs."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A call of what the pickle has at hand."""

    function: object
    arguments: tuple[object, ...] = ()


@dataclass(frozen=True)
class New:
    """`function.__new__(function, *arguments)`, as TorchScript makes its modules."""

    function: object
    arguments: tuple[object, ...] = ()


@dataclass(frozen=True)
class Build:
    """A state given to an object."""

    instance: object
    state: object


@dataclass(frozen=True)
class Persistent:
    """A persistent id, which a storage is."""

    identity: object


@dataclass(frozen=True)
class Raw:
    """Opcodes as they stand."""

    opcodes: bytes


def pickled(value: object) -> bytes:
    """A pickle that builds `value`."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: object) -> bytes:
    match value:
        case Raw(opcodes):
            return opcodes
        case Global(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return _opcodes(function) + _opcodes(arguments) + b"R"
        case New(function, arguments):
            return _opcodes(function) + _opcodes(arguments) + b"\x81"
        case Build(instance, state):
            return _opcodes(instance) + _opcodes(state) + b"b"
        case Persistent(identity):
            return _opcodes(identity) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(content)]) + content
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(_opcodes, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_opcodes, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_opcodes(part) for pair in value.items() for part in pair) + b"u"
    raise TypeError(value)


def storage(key: str, dtype: str, count: int) -> Persistent:
    """The id of a storage."""
    return Persistent(("storage", Global("torch", TORCH_STORAGES[dtype]), key, "cpu", count))


def tensor(source: object, offset: int, shape: Iterable[int], stride: Iterable[int]) -> Call:
    """A view of a storage."""
    hooks = Call(Global("collections", "OrderedDict"))
    arguments = (source, offset, tuple(shape), tuple(stride), False, hooks)
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), arguments)


def steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of contiguous elements."""
    return tuple(int(np.prod(shape[place + 1 :])) for place in range(len(shape)))


class TorchFile:
    """A torch zip in the making: storages are added, then the pickle, then it is written."""

    def __init__(self) -> None:
        self.storages: dict[str, bytes] = {}

    def add(self, values: Array, dtype: str = "float32") -> Call:
        """A contiguous tensor in a storage of its own."""
        key = str(len(self.storages))
        kept = str(values.dtype) if values.dtype.kind in "ib" else dtype
        self.storages[key] = stored_bytes(values, kept)
        return tensor(storage(key, kept, values.size), 0, values.shape, steps(values.shape))

    def write(self, path: Path, tree: object, members: Mapping[str, bytes] | None = None) -> Path:
        """The zip, with `tree` pickled as its data.pkl, and further members below its root."""
        parts = {"data.pkl": pickled(tree), "byteorder": b"little", "version": b"3\n", **(members or {})}
        parts |= {f"data/{key}": blob for key, blob in self.storages.items()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, blob in parts.items():
                archive.writestr(f"archive/{name}", blob)
        return path


def write_torch(path: Path, tensors: Tensors, dtype: str = "float32", **more: object) -> Path:
    """A state dict as `torch.save` writes it; `more` are entries that are no tensors."""
    file = TorchFile()
    tree = {name: file.add(values, dtype) for name, values in tensors.items()}
    return file.write(path, {**tree, **more})


def script_tree(tensors: Mapping[str, object], gelu: str = "QuickGELU") -> Build:
    """The module tree of a TorchScript archive whose parameters these are, with its activation in each block."""
    leaves = dict(tensors)
    blocks = {name.split("mlp.")[0] for name in tensors if ".mlp." in name}
    leaves |= {f"{block}mlp.gelu": Build(New(Global("__torch__.clip", gelu)), {"training": False}) for block in blocks}
    nested: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *path, last = name.split(".")
        here = nested
        for part in path:
            here = here.setdefault(part, {})
        here[last] = leaf

    def module(children: dict[str, Any]) -> Build:
        state = {key: module(value) if isinstance(value, dict) else value for key, value in children.items()}
        return Build(New(Global("__torch__.clip.___torch_mangle_7", "Module")), {"training": False, **state})

    return module(nested)


def write_script(path: Path, tensors: Tensors, dtype: str = "float16", gelu: str = "QuickGELU") -> Path:
    """A TorchScript archive, but for its code."""
    file = TorchFile()
    leaves = {name: file.add(values, dtype) for name, values in tensors.items()}
    return file.write(path, script_tree(leaves, gelu), {"constants.pkl": pickled(())})


def write_mindspore(path: Path, tensors: Tensors, dtype: str = "float32", *, crc: bool = False) -> Path:
    """A MindSpore checkpoint, by MindSpore."""
    import mindspore as ms

    kept = {"float32": ms.float32, "float16": ms.float16, "bfloat16": ms.bfloat16}[dtype]
    # a tensor from a strided array would keep its strides
    parameters = []
    for name, values in tensors.items():
        whole = ms.Tensor(np.array(values, order="C"))  # a tensor of a strided array would keep its strides
        parameters.append({"name": name, "data": whole if values.dtype.kind == "i" else whole.astype(kept)})
    ms.save_checkpoint(parameters, str(path), crc_check=crc)
    return path
