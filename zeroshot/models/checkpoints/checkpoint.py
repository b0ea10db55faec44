"""A checkpoint file of any kind that CLIP users have → named float32 arrays, whole or not at all; and back."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import VOCABULARY, Architecture
from zeroshot.models.checkpoints.companion_config import told_activation
from zeroshot.models.checkpoints.files import contents, opened, shards, weights_file
from zeroshot.models.checkpoints.safetensors_file import write_safetensors
from zeroshot.models.checkpoints.stored_tensors import Array, Contents, Stored, shown
from zeroshot.models.checkpoints.tensor_names import SPELLINGS, Spelling, harmless

Tensors = Mapping[str, NDArray[np.float32]]

TOKENS = "token_embedding.weight"
TOKEN_IDS = "token_ids"
_SHOWN = 3  # tensors named in an error
_LARGEST_EXTRA = 2**14


@dataclass(frozen=True)
class Checkpoint:
    """Weights as they were read.

    `format` is the project whose names the file has, and its container: openai-torchscript, openai-torch,
    openai-safetensors, openai-ckpt, huggingface-safetensors, huggingface-torch, mindformers-ckpt, …
    `tensors` have openai/CLIP's names and shapes, float32, C-contiguous. `activation` is "quick_gelu" or "gelu" where
    the file, or what lies beside it, tells. `token_ids` [n] are the tokens whose embedding the file holds, where it
    does not hold all: the rows of the others are zero.
    """

    path: Path
    format: str
    tensors: dict[str, NDArray[np.float32]]
    activation: str | None = None
    token_ids: NDArray[np.int64] | None = None


def load(
    path: Path, architecture: Architecture, known: Mapping[str, Architecture] = MappingProxyType({})
) -> Checkpoint:
    """Read the weights of a CLIP of these sizes from a file, or from a folder as Hugging Face lays it out.

    The container is recognised by its first bytes and the names by themselves. Raises ZeroshotError, in one line with
    the file's name, for what cannot be read, for missing, extra or mis-shaped tensors, and for NaN or infinity. `known`
    are architectures by the word for them after `model=`: one that the file fits better is named in the error.
    """
    file = weights_file(path)
    with contents(file) as found:
        spelling = max(SPELLINGS, key=lambda each: len(_expected(each, architecture).keys() & found.tensors.keys()))
        token_ids = _token_ids(file, found)
        _check_names(file, spelling, architecture, known, found, token_ids)
        _check_extras(file, spelling, architecture, found)
        tensors = {name: _read(spelling, name, found) for name in architecture.shapes()}
        activation = found.activation or told_activation(file, spelling.name, architecture)
        kind = f"{spelling.name}-{found.container}"
    broken = [name for name, tensor in tensors.items() if not np.isfinite([tensor.min(), tensor.max()]).all()]
    if broken:
        raise ZeroshotError(f"{file}: NaN or infinity in {_some(broken)}: the file is damaged or its training failed")
    if token_ids is not None:
        rows = np.zeros((VOCABULARY, architecture.text_width), np.float32)
        rows[token_ids] = tensors[TOKENS]
        tensors[TOKENS] = rows
    return Checkpoint(file, kind, tensors, activation, token_ids)


def _expected(spelling: Spelling, architecture: Architecture, tokens: int = VOCABULARY) -> dict[str, tuple[int, ...]]:
    """Every tensor that the file must hold, by its name there, with its shape."""
    shapes = architecture.shapes() | {TOKENS: (tokens, architecture.text_width)}
    return {here: shape for name in shapes for here, shape in spelling.shapes(name, shapes[name]).items()}


def _token_ids(file: Path, found: Contents) -> NDArray[np.int64] | None:
    """The tokens whose rows the file holds, or None where it holds them all."""
    stored = found.tensors.get(TOKEN_IDS)
    if stored is None:
        return None
    if len(stored.shape) == 1 and 0 < stored.shape[0] <= VOCABULARY and "int" in stored.dtype:
        ids = stored.read().astype(np.int64)
        if ids.min() >= 0 and ids.max() < VOCABULARY and len(np.unique(ids)) == len(ids):
            return ids
    raise ZeroshotError(f"{file}: '{TOKEN_IDS}' must be different whole numbers below {VOCABULARY}")


def _check_names(
    file: Path,
    spelling: Spelling,
    architecture: Architecture,
    known: Mapping[str, Architecture],
    found: Contents,
    token_ids: NDArray[np.int64] | None,
) -> None:
    """Refuse missing, extra and mis-shaped tensors, before any value is read."""
    rows = VOCABULARY if token_ids is None else len(token_ids)
    faults = _faults(_expected(spelling, architecture, rows), found.tensors)
    count = sum(map(len, faults.values()))
    if not count:
        return
    told = "; ".join(f"{kind}: {_some(names)}" for kind, names in faults.items() if names)
    others = {
        name: sum(map(len, _faults(_expected(spelling, size, rows), found.tensors).values()))
        for name, size in known.items()
        if size != architecture
    }
    nearest = min(others, key=others.__getitem__, default=None)
    if nearest is not None and others[nearest] < min(count, len(found.tensors) // 10 + 1):
        raise ZeroshotError(f"{file}: its tensors are those of {nearest}: type model={nearest} ({told})")
    if not _expected(spelling, architecture).keys() & found.tensors.keys():
        raise ZeroshotError(f"{file}: no tensor in it is a CLIP's; it holds {_some(list(found.tensors))}")
    raise ZeroshotError(f"{file}: not the model that was asked for: {told}")


def _faults(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Stored]) -> dict[str, list[str]]:
    return {
        "missing": [name for name in expected if name not in found],
        "not a CLIP's": [name for name in found if name not in expected and name != TOKEN_IDS and not harmless(name)],
        "of another shape": [
            f"{name} {list(found[name].shape)} for {list(shape)}"
            for name, shape in expected.items()
            if name in found and found[name].shape != shape and (found[name].shape, shape) != ((1,), ())
        ],
        "not of floats": [
            f"{name} {found[name].dtype}" for name in expected if name in found and "float" not in found[name].dtype
        ],
    }


def _check_extras(file: Path, spelling: Spelling, architecture: Architecture, found: Contents) -> None:
    """Hold the entries beside the weights to what they must say."""
    for name in found.tensors.keys() - _expected(spelling, architecture).keys() - {TOKEN_IDS}:
        stored, check = found.tensors[name], harmless(name)
        if check is None or math.prod(stored.shape) > _LARGEST_EXTRA or not check(stored.read(), architecture):
            raise ZeroshotError(
                f"{file}: '{shown(name)}' is not what it is in a CLIP of these sizes, so the network is another"
            )


def _read(spelling: Spelling, name: str, found: Contents) -> NDArray[np.float32]:
    """One of OpenAI's tensors in float32, put together from its parts in the file."""
    parts = [found.tensors[source].read() for source in spelling.sources(name)]
    tensor: Array = parts[0] if len(parts) == 1 else np.concatenate(parts)
    if name in spelling.transposed:
        tensor = tensor.T
    if name == "logit_scale":
        tensor = tensor.reshape(())
    with np.errstate(over="ignore", invalid="ignore"):  # a float64 that does not fit becomes infinite, and is told
        return np.ascontiguousarray(tensor, np.float32).reshape(tensor.shape)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"{len(names)} tensor{'s' * (len(names) != 1)} ({', '.join(shown(name, 100) for name in names[:_SHOWN])}{more})"
    )


def save(
    tensors: Tensors,
    path: Path,
    dtype: Literal["float32", "float16"] = "float32",
    *,
    token_ids: NDArray[np.int64] | None = None,
    source: str = "",
    activation: str | None = None,
) -> None:
    """Write weights as safetensors with OpenAI's names, whole or not at all.

    With `token_ids` [n] only those rows of the token embedding are written. `source` (what the weights were read from)
    and `activation` go into the file's metadata, from which `load` takes the latter again. Raises ZeroshotError for a
    value that float16 cannot hold and for what the system says against the file.
    """
    kept: dict[str, Array] = dict(tensors)
    if token_ids is not None:
        kept[TOKENS] = tensors[TOKENS][token_ids]
    for name, tensor in kept.items():
        with np.errstate(over="ignore"):
            if not np.isfinite(np.array([tensor.min(), tensor.max()]).astype(dtype)).all():
                raise ZeroshotError(f"{path}: not written: {dtype} cannot hold the values of {name}; use float32")
    if token_ids is not None:
        kept[TOKEN_IDS] = np.asarray(token_ids, np.int64)
    told = {"format": "np", "names": "openai/CLIP", "dtype": dtype, "source": source, "activation": activation or ""}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                write_safetensors(file, kept, dtype, {key: value for key, value in told.items() if value})
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ZeroshotError(f"{path}: cannot be written ({error.strerror or error})") from error


def file_digest(path: Path) -> str:
    """sha256 of a weights file, in hex; of a folder, that of its weights file; of shards, of one after the other."""
    digest = hashlib.sha256()
    for shard in shards(weights_file(path)):
        with opened(shard) as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def tensor_digest(tensors: Tensors) -> str:
    """sha256 over weights in float16, in hex: the same for one set of weights in whichever format it was read.

    Hashed are, for each tensor in the order of OpenAI's names: its name in UTF-8, its shape as decimals joined by
    commas, each followed by a zero byte, and its values as little-endian float16, row by row.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        shape = ",".join(map(str, tensors[name].shape))
        digest.update(f"{name}\0{shape}\0".encode())
        with np.errstate(over="ignore"):
            digest.update(np.ascontiguousarray(tensors[name], "<f2").data)
    return digest.hexdigest()


def identify(tensors: Tensors) -> str | None:
    """Which of OpenAI's models these weights are, by the digests in `identities.json`; None for any other."""
    digests = _identities()
    if not digests:
        return None
    return digests.get(tensor_digest(tensors))


def _identities() -> dict[str, str]:
    """Names by tensor digest, of those models whose digest is known."""
    table = json.loads(resources.files("zeroshot.models.checkpoints").joinpath("identities.json").read_text())
    return {digest: name for name, digest in table.items() if digest}
