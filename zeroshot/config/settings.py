"""What a caller from Python asks for → the plain config of a run, as the command line composes it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zeroshot.config.choices import choice, names, read
from zeroshot.config.paths import expand_path
from zeroshot.data import cifar
from zeroshot.errors import ZeroshotError
from zeroshot.scoring.prompts import PLACEHOLDER

OWN = "own"  # what a model, a prompt set and a data set are called that have no name

ModelChoice = str | Mapping[str, Any]
PromptChoice = str | Sequence[str] | Mapping[str, Any]
DataChoice = str | Path
Settings = dict[str, Any]


def settings(
    model: ModelChoice,
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    dtype: str | None = None,
    interpolation: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    prompt: PromptChoice = "mindformers",
    config_dir: str | Path | None = None,
) -> Settings:
    """The config of an evaluation, on the embedded data set until another is put in.

    Raises:
        ZeroshotError: a choice does not exist or its file can't be read.
    """
    own = choice("model", model, config_dir) if isinstance(model, str) else {"name": OWN} | dict(model)
    if weights is not None:
        own["weights"] = _mapping(own.get("weights"), "weights") | {"path": str(weights)}
    if interpolation is not None:
        own["interpolation"] = interpolation
    on = choice("device", device.lower(), config_dir)
    wanted = {"dtype": dtype, "batch_size": batch_size, "workers": workers}
    return {
        "model": own,
        "dataset": choice("dataset", "shapes"),
        "prompt": prompt_set(prompt, config_dir),
        "device": on | {key: value for key, value in wanted.items() if value is not None},
        "stage": choice("stage", "eval"),
    }


def prompt_set(prompt: PromptChoice, config_dir: str | Path | None = None) -> dict[str, Any]:
    """The prompt set meant by a name, the path of a YAML, one template or several, or a mapping of its keys.

    Raises:
        ZeroshotError: there is no such set.
    """
    own = {"name": OWN, "class_names": "raw"}
    if isinstance(prompt, Mapping):
        return own | dict(prompt)
    if not isinstance(prompt, str):
        return own | {"templates": list(prompt)}
    if PLACEHOLDER in prompt:
        return own | {"templates": [prompt]}
    if prompt.endswith((".yaml", ".yml")):
        return {"name": Path(prompt).stem, "class_names": "spaces"} | read(expand_path(prompt), "prompt", config_dir)
    return choice("prompt", prompt, config_dir)


def data_set(wanted: DataChoice, config_dir: str | Path | None = None) -> dict[str, Any]:
    """The data set in a folder (CIFAR in one of its layouts, or a folder per class) or a CSV file, or that of a name;
    the name may be that of the folder in which it usually lies, such as cifar-100-python.

    Raises:
        ZeroshotError: there is neither such a folder nor such a name.
    """
    path = expand_path(str(wanted))
    if path.is_dir():
        return choice("dataset", cifar.set_in(path) or "image_folder") | {"root": str(path)}
    if path.is_file():
        return choice("dataset", "csv") | {"root": str(path)}
    known = {name: choice("dataset", name, config_dir) for name in names("dataset", config_dir)}
    usual = {Path(said["root"]).name: said for said in known.values() if said.get("url")}
    found = known.get(str(wanted)) or usual.get(str(wanted))
    if found is None:
        raise ZeroshotError(
            f"eval_dataset={wanted} is no folder or CSV file here and not one of {', '.join((*known, *usual))}: "
            "give one of them"
        )
    return found


def _mapping(value: Any, key: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise ZeroshotError(f"model.{key}={value} can't be used: give a mapping such as {{'path': 'FILE'}}")
    return dict(value or {})
