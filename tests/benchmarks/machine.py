"""What a benchmark's figures hold for: the day, the processor, its cores and the versions; and their file."""

import json
import os
import platform
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from zeroshot.devices.worker import processor_name

PACKAGES = (
    "mindspore",
    "numpy",
    "pillow",
    "torch",
    "transformers",
    "onnxruntime",
    "openvino",
    "open_clip_torch",
    "clip_benchmark",
)


def described() -> dict[str, Any]:
    """The machine and its day, as a JSON file tells them; of the packages those that are installed."""
    return {
        "date": date.today().isoformat(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES if _installed(name)},
    }


def write_json(figures: dict[str, Any], file: Path | None) -> None:
    """Writes figures, if a file is asked for."""
    if file:
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False
