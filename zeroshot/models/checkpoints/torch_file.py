"""Reads what torch writes, TorchScript archives and state dicts, without torch and without running their code.

Both are zip files: `<name>/data.pkl` is the pickle that `torch_pickle` reads, and `<name>/data/<key>` the bytes of one
storage, uncompressed, with a CRC.
"""

import zipfile
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.restricted_pickle import RefusedError
from zeroshot.errors import ZeroshotError, printable
from zeroshot.models.checkpoints.settings import Settings
from zeroshot.models.checkpoints.stored_tensors import (
    DTYPES,
    Array,
    Contents,
    DamagedError,
    Stored,
    from_bytes,
    item_size,
)
from zeroshot.models.checkpoints.torch_pickle import Module, Storage, Tensor, load

_WRAPPERS = ("state_dict", "model_state_dict")  # where training scripts save the weights among other things
_LARGEST_PICKLE = 2**26
_MOST_OBJECTS = 2**17
_DEEPEST = 32
_CHUNK = 2**24


def read_torch(file: BinaryIO, path: Path) -> Contents:
    """The tensors of an open zip that torch wrote: a TorchScript archive, or a state dict with or without a wrapper.

    Every name, size and offset is checked here, before any value is read; the CRC of a storage when it is. Raises
    ZeroshotError for a zip that is cut, damaged or not torch's, and for a pickle that needs anything but tensors.
    """
    try:
        archive = _Archive(file)
        tree = load(archive.pickle())
        leaves, activation = _script_leaves(tree) if isinstance(tree, Module) else (_state_dict_leaves(tree), None)
        tensors = {name: _stored(leaf, archive) for name, leaf in leaves.items()}
    except RefusedError as refused:
        raise ZeroshotError(
            f"{path}: refused, and nothing of it was run: its pickle needs {printable(refused)}, which weights "
            "do not need; ask its author for a safetensors file or a plain state dict"
        ) from refused
    except _ContentError as error:
        raise ZeroshotError(f"{path}: {printable(error, 400)}") from error
    except Exception as error:  # a broken zip or pickle fails in ways of its own
        reason = printable(error) or type(error).__name__
        raise ZeroshotError(f"{path}: a torch file that is cut short or damaged: get it again ({reason})") from error
    return Contents("torchscript" if isinstance(tree, Module) else "torch", tensors, Settings(activation))


class _ContentError(Exception):
    """An intact file that does not contain weights; the text says what to do."""


class _Archive:
    """The zip, with its members checked against what torch writes."""

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file)
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._last: tuple[str, NDArray[np.uint8]] | None = None
        for info in self._zip.infolist():
            if self._members.setdefault(info.filename, info) is not info:
                raise ValueError(f"two members are called '{info.filename}'")
        inside = sorted((info.header_offset, info.compress_size, info.filename) for info in self._members.values())
        for (start, size, name), (after, *_) in pairwise([*inside, (self._zip.start_dir, 0, "")]):
            if start + size + len(name) > after:
                raise ValueError(f"'{name}' reaches into what follows it")
        roots = [name.removesuffix("/data.pkl") for name in self._members if name.endswith("/data.pkl")]
        if len(roots) != 1 or "/" in roots[0]:
            raise _ContentError("a zip that torch did not write: there is no data.pkl")
        self._root = roots[0]
        if f"{self._root}/byteorder" in self._members and self._small("byteorder", 16) != b"little":
            raise _ContentError("written on a big-endian machine, whose numbers are not read")

    def _small(self, name: str, limit: int) -> bytes:
        info = self._members[f"{self._root}/{name}"]
        if info.file_size > limit:
            raise ValueError(f"'{name}' unpacks to {info.file_size} bytes, of which {limit} are the most that is read")
        return self._zip.read(info)

    def pickle(self) -> bytes:
        """The bytes of data.pkl."""
        return self._small("data.pkl", _LARGEST_PICKLE)

    def member(self, storage: Storage) -> zipfile.ZipInfo:
        """The entry of a storage, which must hold exactly its elements, and as torch writes them: uncompressed."""
        info = self._members.get(f"{self._root}/data/{storage.key}")
        size = storage.count * item_size(storage.dtype)
        if info is None:
            raise ValueError(f"storage {storage.key} is missing")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise ValueError(f"storage {storage.key} is compressed, which torch never writes")
        if info.file_size != size:
            raise ValueError(f"storage {storage.key} has {info.file_size} bytes where its tensors need {size}")
        return info

    def read(self, storage: Storage) -> NDArray[np.uint8]:
        """The bytes of a storage, its CRC checked. The last one is cached, for tensors that share it."""
        if self._last is not None and self._last[0] == storage.key:
            return self._last[1]
        self._last = None
        info = self.member(storage)
        buffer = np.empty(info.file_size, np.uint8)
        rest = buffer.data
        try:
            with self._zip.open(info) as member:
                while rest:
                    chunk = member.read(min(_CHUNK, len(rest)))
                    if not chunk:
                        raise EOFError(f"it ends {len(rest)} bytes early")
                    rest[: len(chunk)] = chunk
                    rest = rest[len(chunk) :]
        except Exception as error:  # zipfile has many ways to say this
            raise DamagedError(f"storage {storage.key}: {error or type(error).__name__}") from error
        self._last = storage.key, buffer
        return buffer


def _script_leaves(root: Module) -> tuple[dict[str, object], str | None]:
    """The tensors of a TorchScript module by their dotted names, and its activation if its classes name it.

    In OpenAI's archives the activation of a block is `mlp.gelu`, whose class the archive names.
    """
    leaves: dict[str, object] = {}
    activations: set[str] = set()
    waiting: list[tuple[str, object]] = [("", root)]
    for _ in range(_MOST_OBJECTS):
        if not waiting:
            break
        name, found = waiting.pop()
        if name.count(".") > _DEEPEST:
            raise _ContentError(f"a TorchScript archive of modules nested over {_DEEPEST} deep, which is not a CLIP's")
        if isinstance(found, Tensor):
            leaves[name] = found
        elif isinstance(found, Module):
            if name.endswith(".mlp.gelu"):
                activations.add(found.qualname.rsplit(".", 1)[-1])
            state = found.state if isinstance(found.state, dict) else {}
            waiting.extend((f"{name}.{key}".lstrip("."), value) for key, value in reversed(state.items()))
    else:
        raise _ContentError(f"a TorchScript archive of more than {_MOST_OBJECTS} objects, which is not a CLIP's")
    if len(activations) > 1:
        raise _ContentError(f"its blocks have different activations ({', '.join(sorted(activations))})")
    return leaves, {"QuickGELU": "quick_gelu", "GELU": "gelu"}.get("".join(activations))


def _state_dict_leaves(tree: object) -> dict[str, object]:
    """The entries of a state dict, unwrapped, without the `module.` of a parallel training."""
    if isinstance(tree, dict) and not any(isinstance(value, Tensor) for value in tree.values()):
        tree = next((tree[key] for key in _WRAPPERS if isinstance(tree.get(key), dict)), tree)
    if not isinstance(tree, dict) or not all(isinstance(name, str) for name in tree):
        raise _ContentError("a torch file without a state dict: save model.state_dict() with torch.save")
    odd = [name for name, value in tree.items() if not isinstance(value, Tensor | int | float)]
    if odd:
        names = ", ".join(printable(name, 40) for name in odd[:3])
        raise _ContentError(
            f"a torch file in which {len(odd)} of {len(tree)} entries are not tensors ({names}): "
            "save model.state_dict() alone with torch.save"
        )
    prefix = "module." if all(name.startswith("module.") for name in tree) else ""
    return {name.removeprefix(prefix): value for name, value in tree.items()}


def _stored(leaf: object, archive: _Archive) -> Stored:
    if isinstance(leaf, Tensor):
        archive.member(leaf.storage)
        return Stored(leaf.shape, leaf.storage.dtype, partial(_read, leaf, archive))
    number = np.asarray(leaf)
    return Stored((), number.dtype.name, lambda: number)


def _read(tensor: Tensor, archive: _Archive) -> Array:
    dtype = tensor.storage.dtype
    if 0 in tensor.shape:
        return np.empty(tensor.shape, DTYPES[dtype])
    start, stop = (place * item_size(dtype) for place in (tensor.offset, tensor.last + 1))
    elements = from_bytes(archive.read(tensor.storage)[start:stop], dtype)
    if len(elements) != tensor.last + 1 - tensor.offset:
        raise DamagedError(
            "a tensor reaches past its storage"
        )  # checked in `torch_pickle` already; a view would leave the array
    strides = [step * elements.itemsize for step in tensor.stride]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(elements, tensor.shape, strides)).reshape(tensor.shape)
