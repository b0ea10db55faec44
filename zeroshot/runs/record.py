"""The record of a run, `result.json`, and the published figures beside its own."""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from zeroshot import __version__
from zeroshot.runs.folder import RECORD, SURROGATES, write_text

SCHEMA = 1

Record = dict[str, Any]


def start_record(config: Mapping[str, Any], overrides: Sequence[str]) -> Record:
    """The keys that every record has, of a run that failed too, from before the work starts."""
    return {
        "schema": SCHEMA,
        "stage": config["stage"]["name"],
        "config": dict(config),
        "config_digest": digest(config),
        "versions": versions(),
        "overrides": list(overrides),
    }


def write_record(folder: Path, record: Record) -> Path:
    """Writes `result.json` with the time and returns its path. It is the last file of a run, which it makes complete.

    Where the folder takes no more bytes, the record is written into the system's folder for temporary files.

    Raises:
        OSError: it can't be written there either.
    """
    text = json.dumps(record | {"finished": now()}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path = folder / RECORD
    try:
        write_text(path, text)
    except OSError:
        descriptor, name = tempfile.mkstemp(prefix=f"{folder.name}.", suffix=f".{RECORD}")
        path = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors=SURROGATES) as file:
            file.write(text)
    return path


def read_record(folder: Path) -> Record | None:
    """The record in a folder, or None if there is none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def is_complete(record: Record | None, config_digest: str) -> bool:
    """Whether a record is that of a run of this config that did not fail."""
    return record is not None and "error" not in record and record.get("config_digest") == config_digest


def digest(config: Mapping[str, Any]) -> str:
    """A digest of a resolved config, 16 hexadecimal digits."""
    text = json.dumps(config, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]  # a path need not be UTF-8


def now() -> str:
    """The time in UTC, to the second, as records have it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """The versions of this package, of Python and of the packages on which results depend."""
    found = {"zeroshot": __version__, "python": platform.python_version()}
    for package in ("mindspore", "numpy", "pillow", "hydra-core", "ftfy", "regex", "tokenizers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def references(
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    prompt: Mapping[str, Any],
    top1: float,
    prompt_templates: Callable[[str], Sequence[str]],
) -> list[dict[str, Any]]:
    """Published figures of exactly this work, as fractions of 1, with our distance from each; mostly there are none.

    `model`, `data` and `prompt` are the record's, of a whole test split; `prompt_templates` tells a named prompt set's.
    """
    found = []
    for entry in published():
        percent = entry["top1"].get(model["weights"]["identity"])
        same_work = (
            data["name"] == entry["dataset"]
            and data["size"] == entry["images"]
            and data["labels"] == "fine"
            and list(prompt["templates"]) == list(prompt_templates(entry["prompt"]))
            and prompt["class_names"] == entry["class_names"]
            and model["interpolation"] == entry["interpolation"]
            and data.get("classes_from") == entry.get("classes_from")
        )
        if same_work and percent is not None:
            figure = round(percent / 100, 6)
            found.append({"source": entry["source"], "top1": figure, "delta": round(top1 - figure, 6)})
    return found


def published() -> list[dict[str, Any]]:
    """What others published, from `published.yaml`: source, protocol, and top-1 in percent by model."""
    listed = OmegaConf.to_container(OmegaConf.load(str(files("zeroshot.runs") / "published.yaml")))
    assert isinstance(listed, list)
    return listed
