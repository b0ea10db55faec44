"""The record of a run, `result.json`, and the published figures beside its own."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from zeroshot import __version__
from zeroshot.runs.folder import RECORD, now, write

SCHEMA = 1

Record = dict[str, Any]


def write_record(folder: Path, record: Record) -> None:
    """Writes `result.json`, with the time: the last file of a run, so that a folder which has it is complete."""
    record = record | {"finished": now()}
    write(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(folder: Path) -> Record | None:
    """The record in a folder, or None if there is none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def done(folder: Path, config_digest: str) -> bool:
    """Whether a folder holds the complete record of a run of this config."""
    record = read_record(folder)
    return record is not None and "error" not in record and record["config_digest"] == config_digest


def digest(config: Mapping[str, Any]) -> str:
    """What tells one resolved config from another, in 16 hex digits."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def start_record(config: Mapping[str, Any], overrides: Sequence[str]) -> Record:
    """The keys that every record has, failed or not, from before the work starts."""
    return {
        "schema": SCHEMA,
        "stage": config["stage"]["name"],
        "config": dict(config),
        "config_digest": digest(config),
        "versions": versions(),
        "overrides": list(overrides),
    }


def versions() -> dict[str, str]:
    """Versions of this package and of those that numbers hang on."""
    import platform

    found = {"zeroshot": __version__, "python": platform.python_version()}
    for package in ("mindspore", "numpy", "pillow", "hydra-core", "ftfy", "regex"):
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
