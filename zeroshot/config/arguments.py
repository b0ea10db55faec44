"""The arguments of `load_model`, `pipeline` and `Trainer` → the config that the command line would compose."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from zeroshot.config.compose import compose
from zeroshot.config.named import dataset_names_by_folder, names
from zeroshot.config.paths import expand_path
from zeroshot.data import cifar
from zeroshot.errors import ZeroshotError
from zeroshot.scoring.prompts import PLACEHOLDER

ModelChoice = str | Mapping[str, Any]
PromptChoice = str | Path | Sequence[str] | Mapping[str, Any]
DataChoice = str | Path


def run_config(
    model: ModelChoice,
    prompt: PromptChoice | None,
    config_dir: str | Path | None,
    device: str,
    weights: str | Path | None,
    dtype: str | None,
    interpolation: str | None,
    batch_size: int | None,
    workers: int | None,
    device_count: int | str | None = None,
    device_cluster: str | None = None,
) -> dict[str, Any]:
    """The config of an evaluation of this model, on the embedded data set until another is put in.

    Raises:
        ZeroshotError: a choice does not exist, or its file can't be read.
    """
    if not isinstance(model, str | Mapping):
        raise ZeroshotError(f"model={model!r}: give the name of a model or a mapping of the keys of model:")
    if not isinstance(device, str):
        raise ZeroshotError(f"device={device!r}: give one of {', '.join(names('device'))}")
    choices = {"dataset": "shapes", "device": device.lower(), "stage": "eval"}
    values: dict[str, Any] = {}
    if isinstance(model, str):
        choices["model"] = model
    else:
        values["model"] = {"name": "own", "weights": {}} | _plain(model)
    if isinstance(prompt, str) and _is_name(prompt):
        choices["prompt"] = prompt
    elif prompt is not None:
        values["prompt"] = prompt_config(prompt, config_dir)
    values["model.weights.path"] = None if weights is None else str(weights)
    values |= {"model.interpolation": interpolation, "device.dtype": dtype}
    values |= {"device.batch_size": batch_size, "device.workers": workers}
    values |= {"device.count": device_count, "device.cluster": device_cluster}
    return compose(choices, values, config_dir)


def prompt_config(prompt: PromptChoice, config_dir: str | Path | None = None) -> dict[str, Any]:
    """The prompt set of a name, a YAML file, one template or several, or a mapping of its keys."""
    own = {"name": "own", "class_names": "raw"}
    if isinstance(prompt, Mapping):
        return own | _plain(prompt)  # type: ignore[no-any-return]
    if isinstance(prompt, os.PathLike):
        prompt = os.fspath(prompt)
    if not isinstance(prompt, str):
        if not isinstance(prompt, Iterable):
            raise ZeroshotError(f"prompt={prompt!r}: give the name of a prompt set, a template, or a list of them")
        return own | {"templates": list(prompt)}
    if PLACEHOLDER in prompt:
        return own | {"templates": [prompt]}
    if not _is_name(prompt):
        return _prompt_file(expand_path(prompt))
    return compose({"prompt": prompt}, {}, config_dir)["prompt"]  # type: ignore[no-any-return]


def dataset_config(given: DataChoice, config_dir: str | Path | None = None) -> dict[str, Any]:
    """The data set of a folder (CIFAR in one of its layouts, or a folder per class), a CSV file, or a name."""
    path = expand_path(str(given))
    values = {"dataset.root": str(path)} if path.exists() else {}
    if path.is_dir():
        name = cifar.set_in(path) or "image_folder"
    elif path.is_file():
        name = "csv"
    else:
        name = dataset_names_by_folder().get(str(given), str(given))
        if config_dir is None and name not in names("dataset"):
            known = ", ".join([*names("dataset"), *dataset_names_by_folder()])
            raise ZeroshotError(f"eval_dataset={given} is not a folder or CSV file here, nor one of {known}")
    return compose({"dataset": name}, values, config_dir)["dataset"]  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    """A copy of the caller's own mapping, with paths as text."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _is_name(prompt: str) -> bool:
    return PLACEHOLDER not in prompt and not prompt.endswith((".yaml", ".yml"))


def _prompt_file(path: Path) -> dict[str, Any]:
    """The prompt set in a YAML file of the user's own.

    Raises:
        ZeroshotError: it can't be read.
    """
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:  # YAML's errors, OmegaConf's and the system's
        raise ZeroshotError(f"{path} can't be read ({error})") from error
    if not isinstance(loaded, dict) or "defaults" in loaded:
        raise ZeroshotError(f"{path} is not a prompt set: give `templates:` and, if you like, `class_names:`")
    return {"name": path.stem, "class_names": "spaces"} | {str(key): value for key, value in loaded.items()}
