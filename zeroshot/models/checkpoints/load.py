"""Reads a checkpoint file of any kind that CLIP users have → named float32 arrays, complete or not at all."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from zeroshot.errors import ZeroshotError, printable
from zeroshot.models.architecture import Architecture
from zeroshot.models.checkpoints.files import contents, weights_file
from zeroshot.models.checkpoints.settings import UNKNOWN, Settings, find_settings
from zeroshot.models.checkpoints.stored_tensors import Array, Contents, Stored
from zeroshot.models.checkpoints.tensor_names import NAME_MAPS, UNUSED, NameMap, find_extra_check

TOKENS = "token_embedding.weight"
TOKEN_IDS = "token_ids"
NAMED_TENSORS = 3  # in an error
LARGEST_EXTRA = 2**14  # elements


@dataclass(frozen=True)
class Checkpoint:
    """Weights as they were read.

    `format` is the project whose tensor names the file uses, and its container: openai-torchscript, openai-torch,
    openai-safetensors, openai-ckpt, huggingface-safetensors, huggingface-torch, mindformers-ckpt, …
    `tensors` have the names and shapes of `Architecture.shapes`, float32, C-contiguous. `settings` are what the file, a
    config beside it or its name says of the activation, of pixels and of the resize. `token_ids` [n] are the tokens
    whose embeddings the file contains, where it does not contain all: the rows of the others are zero.
    """

    path: Path
    format: str
    tensors: dict[str, NDArray[np.float32]]
    settings: Settings = UNKNOWN
    token_ids: NDArray[np.int64] | None = None


def load(
    path: Path, architecture: Architecture, known: Mapping[str, Architecture] = MappingProxyType({})
) -> Checkpoint:
    """Reads the weights of a network of these sizes from a file, or from a folder in Hugging Face's layout.

    The container is recognised by its first bytes, the naming by the tensors' names. `known` are architectures by their
    name after `model=`: one that the file fits better is named in the error.

    Raises:
        ZeroshotError: the file can't be read, tensors are missing, extra or mis-shaped, or have NaN or infinity.
    """
    file = weights_file(path)
    with contents(file) as found:
        names = _names(architecture, found)
        token_ids = _token_ids(file, found, architecture)
        _check_names(file, names, architecture, known, found, token_ids)
        _check_extras(file, names, architecture, found)
        tensors = {name: _read(names, name, shape, found) for name, shape in architecture.shapes().items()}
        settings = found.settings.completed(find_settings(file, names.name, architecture))
        kind = f"{names.name}-{found.container}"
    broken = [name for name, tensor in tensors.items() if not np.isfinite([tensor.min(), tensor.max()]).all()]
    if broken:
        raise ZeroshotError(f"{file}: NaN or infinity in {_some(broken)}: the file is damaged or its training diverged")
    if token_ids is not None:
        rows = np.zeros((architecture.vocabulary, architecture.text_width), np.float32)
        rows[token_ids] = tensors[TOKENS]
        tensors[TOKENS] = rows
    return Checkpoint(file, kind, tensors, settings, token_ids)


def _names(architecture: Architecture, found: Contents) -> NameMap:
    """The naming of the architecture's family that fits the file best."""
    maps = NAME_MAPS[architecture.family]
    return max(maps, key=lambda each: len(_expected(each, architecture).keys() & found.tensors.keys()))


def _expected(names: NameMap, architecture: Architecture, tokens: int | None = None) -> dict[str, tuple[int, ...]]:
    """Every tensor that the file must contain, by its name there, with its shape; `tokens` of the vocabulary or all."""
    shapes = architecture.shapes()
    if tokens is not None:
        shapes[TOKENS] = (tokens, architecture.text_width)
    return {here: shape for name in shapes for here, shape in names.shapes(name, shapes[name]).items()}


def _token_ids(file: Path, found: Contents, architecture: Architecture) -> NDArray[np.int64] | None:
    """The tokens whose rows the file contains, or None where it contains all."""
    stored = found.tensors.get(TOKEN_IDS)
    if stored is None:
        return None
    size = architecture.vocabulary
    if len(stored.shape) == 1 and 0 < stored.shape[0] <= size and "int" in stored.dtype:
        ids = stored.read().astype(np.int64)
        if ids.min() >= 0 and ids.max() < size and len(np.unique(ids)) == len(ids):
            return ids
    raise ZeroshotError(f"{file}: '{TOKEN_IDS}' must be distinct integers below {size}")


def _check_names(
    file: Path,
    names: NameMap,
    architecture: Architecture,
    known: Mapping[str, Architecture],
    found: Contents,
    token_ids: NDArray[np.int64] | None,
) -> None:
    """Refuses missing, extra and mis-shaped tensors, before any value is read."""
    rows = None if token_ids is None else len(token_ids)
    faults = _faults(_expected(names, architecture, rows), found.tensors)
    count = sum(map(len, faults.values()))
    if not count:
        return
    details = "; ".join(f"{kind}: {_some(names)}" for kind, names in faults.items() if names)
    others = {
        name: sum(map(len, _faults(_expected(_names(size, found), size, rows), found.tensors).values()))
        for name, size in known.items()
        if size != architecture
    }
    nearest = min(others, key=others.__getitem__, default=None)
    if nearest is not None and others[nearest] < min(count, len(found.tensors) // 10 + 1):
        raise ZeroshotError(f"{file}: its tensors are those of {nearest}: type model={nearest} ({details})")
    if not _expected(names, architecture).keys() & found.tensors.keys():
        raise ZeroshotError(f"{file}: none of its tensors is a CLIP's: {_some(list(found.tensors))}")
    raise ZeroshotError(f"{file}: not the tensors of this model: {details}")


def _faults(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Stored]) -> dict[str, list[str]]:
    return {
        "missing": [name for name in expected if name not in found],
        "not a CLIP's": [
            name
            for name in found
            if name not in expected and name != TOKEN_IDS and not UNUSED.fullmatch(name) and not find_extra_check(name)
        ],
        "of another shape": [
            f"{name} {list(found[name].shape)} for {list(shape)}"
            for name, shape in expected.items()
            if name in found and found[name].shape != shape and (found[name].shape, shape) != ((1,), ())
        ],
        "not of floats": [
            f"{name} {found[name].dtype}" for name in expected if name in found and "float" not in found[name].dtype
        ],
    }


def _check_extras(file: Path, names: NameMap, architecture: Architecture, found: Contents) -> None:
    """Checks the values of the entries beside the weights."""
    for name in found.tensors.keys() - _expected(names, architecture).keys() - {TOKEN_IDS}:
        if UNUSED.fullmatch(name) and architecture.family == "chinese_clip":
            continue
        stored, check = found.tensors[name], find_extra_check(name)
        if check is None or math.prod(stored.shape) > LARGEST_EXTRA or not check(stored.read(), architecture):
            raise ZeroshotError(
                f"{file}: '{printable(name)}' differs from that of a CLIP of these sizes: it is another network"
            )


def _read(names: NameMap, name: str, shape: tuple[int, ...], found: Contents) -> NDArray[np.float32]:
    """One of our tensors in float32, joined from its parts in the file."""
    parts = [found.tensors[source].read() for source in names.sources(name)]
    tensor: Array = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if name in names.transposed:
        tensor = tensor.T
    if not shape or name in names.nested:
        tensor = tensor.reshape(shape)
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 that does not fit becomes infinite, which is refused
        return np.ascontiguousarray(tensor, np.float32).reshape(tensor.shape)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED_TENSORS} more" if len(names) > NAMED_TENSORS else ""
    listed = ", ".join(printable(name, 100) for name in names[:NAMED_TENSORS])
    return f"{len(names)} tensor{'s' * (len(names) != 1)} ({listed}{more})"
