"""The identity of weights: by the digest of their file, or by a digest of their tensors in whatever format."""

import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np

from zeroshot.downloads.digest import sha256_of_parts
from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import Tensors
from zeroshot.models.checkpoints.files import shards, weights_file


def file_digest(path: Path) -> str:
    """The sha256 of a weights file in hex; of a folder, that of its weights file; of shards, that of their digests."""
    files = shards(weights_file(path))
    try:
        return sha256_of_parts(files)
    except OSError as error:
        raise ZeroshotError(f"{path}: can't be read ({error.strerror or error})") from error


def tensor_digest(tensors: Tensors) -> str:
    """sha256 over weights in float16, in hex: the same for the same weights in any file format.

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
    """The name of the model with these weights, by the tensor digests in `identities.json`; None for others."""
    digests = _identities()["tensors"]
    if not digests:
        return None
    return digests.get(tensor_digest(tensors))


def identify_file(sha256: str) -> str | None:
    """The name of the model whose weights a file with this digest contains, by `identities.json`; None for others."""
    return _identities()["files"].get(sha256)


def _identities() -> dict[str, dict[str, str]]:
    """Names by the digest of tensors, and by that of other files than those of `conf/model/`."""
    table: dict[str, dict[str, str]] = json.loads(
        resources.files("zeroshot.models.checkpoints").joinpath("identities.json").read_text()
    )
    return table
