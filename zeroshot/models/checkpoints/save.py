"""Writes weights as safetensors with OpenAI's tensor names."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import Tensors
from zeroshot.models.checkpoints.load import TOKEN_IDS, TOKENS
from zeroshot.models.checkpoints.safetensors_file import write_safetensors
from zeroshot.models.checkpoints.settings import UNKNOWN, Settings
from zeroshot.models.checkpoints.stored_tensors import Array


def save(
    tensors: Tensors,
    path: Path,
    dtype: Literal["float32", "float16"] = "float32",
    *,
    token_ids: NDArray[np.int64] | None = None,
    source: str = "",
    settings: Settings = UNKNOWN,
    licence: str | None = None,
) -> None:
    """Writes weights as safetensors with OpenAI's names, whole or not at all.

    With `token_ids` [n] only those rows of the token embedding are written. `source` (what the weights were read from),
    `settings` and `licence` go into the file's metadata, from which `load` reads the settings.

    Raises:
        ZeroshotError: float16 can't represent a value, or the file can't be written.
    """
    written: dict[str, Array] = dict(tensors)
    if token_ids is not None:
        written[TOKENS] = tensors[TOKENS][token_ids]
    for name, tensor in written.items():
        with np.errstate(over="ignore"):
            if not np.isfinite(np.array([tensor.min(), tensor.max()]).astype(dtype)).all():
                raise ZeroshotError(f"{path}: not written: {dtype} can't represent the values of {name}; use float32")
    if token_ids is not None:
        written[TOKEN_IDS] = np.asarray(token_ids, np.int64)
    metadata = {
        "format": "np",
        "names": "openai/CLIP",
        "dtype": dtype,
        "source": source,
        "licence": licence or "",
        **settings.metadata(),
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                write_safetensors(file, written, dtype, {key: value for key, value in metadata.items() if value})
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ZeroshotError(f"{path}: can't be written ({error.strerror or error})") from error
