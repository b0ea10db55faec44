"""The key of image features: all that they depend on but the images themselves, and not the prompts."""

import hashlib
import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from PIL import features

from zeroshot import data, models
from zeroshot.models.architecture import Architecture
from zeroshot.models.preprocess import Preprocessing

CODECS = ("libjpeg_turbo", "jpg", "jpg_2000", "webp", "avif")  # their versions decode differently
PROCESSOR = ("model name", "flags", "CPU implementer", "CPU part", "Features")  # MindSpore chooses its kernels by these


def feature_key(
    architecture: Architecture,
    activation: str,
    preprocessing: Preprocessing,
    weights_sha256: str,
    device: Mapping[str, Any],
    versions: Mapping[str, str],
) -> dict[str, Any]:
    """What two runs must share so that an image's feature has the same bits in both.

    `device` and `versions` are the record's. The size of a batch is part of the key, since a network's rows may differ
    in their last bits between shapes (on a CPU, batches of one do), and so are the processor, the versions of what
    computes, and the code of `zeroshot.models` and `zeroshot.data`.
    """
    return {
        "weights": weights_sha256,
        "network": {**vars(architecture), "activation": activation},
        "preprocessing": vars(preprocessing),
        "device": {name: device[name] for name in ("target", "dtype", "batch_size")},
        "processor": _processor(),
        "versions": {name: versions[name] for name in ("mindspore", "numpy", "pillow")},
        "codecs": {name: features.version(name) for name in CODECS},
        "code": _code(),
    }


@cache
def _code() -> str:
    """A sha256 over the sources of `zeroshot.models` and `zeroshot.data`."""
    digest = hashlib.sha256()
    for folder in [*models.__path__, *data.__path__]:
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _processor() -> dict[str, Any]:
    """The kind of processor, and how many cores it has."""
    described = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
        lines = [line for line in first if line.split("\t")[0].split(":")[0].strip() in PROCESSOR]
        described = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return {"machine": platform.machine(), "described": described, "cores": os.cpu_count()}
