"""Finds the files of a checkpoint and opens each by its first bytes, whatever its name."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from zeroshot.errors import ZeroshotError, printable
from zeroshot.models.checkpoints.mindspore_file import is_mindspore, read_mindspore
from zeroshot.models.checkpoints.safetensors_file import is_safetensors, read_safetensors
from zeroshot.models.checkpoints.stored_tensors import Contents, DamagedError
from zeroshot.models.checkpoints.torch_file import read_torch

# The names of weights in a folder, Hugging Face's, open_clip's and cn_clip's; the first that exists is used.
FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
    "clip_cn_vit-b-16.pt",
    "clip_cn_vit-l-14.pt",
    "clip_cn_vit-l-14-336.pt",
    "clip_cn_vit-h-14.pt",
)
_LARGEST_INDEX = 2**24
_FORMATS = "safetensors, torch's zip files (.pt, .pth, .bin) and MindSpore's .ckpt are read"


def weights_file(path: Path) -> Path:
    """The file itself, or a folder's weights file or index of shards. Raises ZeroshotError if there is none."""
    try:
        if path.is_dir():
            for name in FOLDER_FILES:
                if (path / name).is_file():
                    return path / name
            raise ZeroshotError(f"{path}: no weights in this folder: none of {', '.join(FOLDER_FILES)} is in it")
        if not path.exists():
            raise ZeroshotError(f"{path}: no such file")
        if not path.is_file():
            raise ZeroshotError(f"{path}: not a file")
    except OSError as error:
        raise ZeroshotError(f"{path}: can't be read ({error.strerror or error})") from error
    return path


def shards(file: Path) -> list[Path]:
    """The files with the tensors: those that an index of shards names, sorted, or the file itself."""
    with opened(file) as stream:
        index = _index(stream, file) if stream.read(1) == b"{" else None
    if index is None:
        return [file]
    if not index or not all(isinstance(name, str) and Path(name).name == name for name in index.values()):
        raise ZeroshotError(f"{file}: an index whose weight_map does not name files beside it")
    names = set(index.values())
    for name in names:
        if not (file.parent / name).is_file():
            raise ZeroshotError(f"{file}: '{printable(name)}', which it names, is missing beside it: download that too")
    return [file.parent / name for name in sorted(names)]


def _index(stream: BinaryIO, file: Path) -> dict[str, str]:
    try:
        stream.seek(0)
        found = json.loads(stream.read(_LARGEST_INDEX))["weight_map"]
        return dict(found)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ZeroshotError(
            f"{file}: JSON without a weight_map, which is not an index of shards; {_FORMATS}"
        ) from error


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """A file open for reading; the system's errors become one line."""
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise ZeroshotError(f"{file}: can't be read ({error.strerror or error})") from error


@contextmanager
def contents(file: Path) -> Iterator[Contents]:
    """The tensors of a checkpoint's files together, readable until the context ends.

    A tensor that turns out damaged when it is read becomes a ZeroshotError.
    """
    with ExitStack() as stack:
        parts = [_read(stack.enter_context(opened(shard)), shard) for shard in shards(file)]
        whole = parts[0]
        for part in parts[1:]:
            if twice := sorted(whole.tensors.keys() & part.tensors.keys()):
                raise ZeroshotError(f"{file}: '{printable(twice[0])}' is in two of its shards")
            whole.tensors.update(part.tensors)
        try:
            yield whole
        except DamagedError as error:
            raise ZeroshotError(f"{file}: cut short or damaged: get it again ({printable(error)})") from error


def _read(stream: BinaryIO, file: Path) -> Contents:
    start = stream.read(512)
    if is_safetensors(start):
        return read_safetensors(stream, file)
    if start.startswith(b"PK\x03\x04"):
        return read_torch(stream, file)
    if is_mindspore(start):
        return read_mindspore(stream, file)
    raise ZeroshotError(f"{file}: {_unknown(start, file)}")


def _unknown(start: bytes, file: Path) -> str:
    """What an unreadable file seems to be, and what to do about it."""
    if not start:
        return "an empty file: download it again"
    if start.lstrip()[:1] == b"<":
        return "this is a web page, not weights: an error or a login page was saved; download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the weights: type 'git lfs pull' in its folder"
    if start[257:262] == b"ustar" or (start[:1] == b"\x80" and b"\x02" <= start[1:2] <= b"\x05"):
        return (
            "torch's format from before version 1.6, or a pickle; to convert it where torch is, type: python -c "
            f"\"import torch; torch.save(torch.load('{file.name}', map_location='cpu', weights_only=True), 'new.pt')\""
        )
    return (
        f"not a format that is known (it starts with {start[:8].hex(' ')}); {_FORMATS}; "
        "to convert it, load it in its own framework and use safetensors.numpy.save_file"
    )
