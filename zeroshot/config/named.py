"""The names of models, data sets and prompt sets: those of `conf/`, read without Hydra, and those of own ones."""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import MISSING, OmegaConf

from zeroshot.config.paths import expand_path, source_folder
from zeroshot.config.schema import Family, Model
from zeroshot.models.architecture import Architecture

if TYPE_CHECKING:
    from zeroshot.models.checkpoints.settings import Settings
    from zeroshot.models.preprocess import Preprocessing


def names(group: str) -> list[str]:
    """The names of a group's choices in `conf/`, sorted."""
    return sorted(path.stem for path in (source_folder("conf") / group).glob("*.yaml"))


@cache
def known_models() -> dict[str, Model]:
    """The models of `conf/model/` by name, read once a process."""
    models = {}
    for name in names("model"):
        model = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Model), _model_file(name)))
        assert isinstance(model, Model)
        models[name] = model
    return models


@cache
def _model_file(name: str) -> Any:
    """A model's YAML, merged onto those that its `defaults` name."""
    loaded: Any = OmegaConf.load(source_folder("conf") / "model" / f"{name}.yaml")
    inherited = [each for each in loaded.pop("defaults", []) if each != "_self_"]
    return OmegaConf.merge(*map(_model_file, inherited), loaded)


def settings(model: Model) -> "Settings":
    """The activation, the pixel statistics and the resize of a model."""
    from zeroshot.models.checkpoints.settings import Settings  # needs numpy

    return Settings(model.activation.value, _three(model.mean), _three(model.std), model.resize.value)


def architecture(model: Model) -> Architecture:
    """The sizes of a model in plain numbers."""
    sizes = {name: getattr(model, name) or 0 for name in Architecture.__dataclass_fields__ if name != "family"}
    return Architecture(family=Family(model.family).value, **sizes)


def preprocessing(model: Model) -> "Preprocessing":
    """How a model's images are resized and normalised."""
    from zeroshot.models.preprocess import Preprocessing  # needs numpy and Pillow

    return Preprocessing(
        model.image_size, model.interpolation.value, model.resize.value, _three(model.mean), _three(model.std)
    )


def _three(numbers: list[float]) -> tuple[float, float, float]:
    red, green, blue = numbers
    return red, green, blue


def dataset_names_by_folder() -> dict[str, str]:
    """The downloadable data sets of `conf/dataset/` by the name of their usual folder, such as cifar-100-python."""
    found = {}
    for name in names("dataset"):
        loaded = OmegaConf.to_container(
            OmegaConf.load(source_folder("conf") / "dataset" / f"{name}.yaml"), resolve=False
        )
        if isinstance(loaded, dict) and loaded.get("sources"):
            found[str(loaded["root"]).rsplit("/", 1)[-1]] = name
    return found


def prompt_templates(name: str) -> list[str]:
    """The templates of a prompt set of `conf/prompt/`."""
    return list(_prompt_file(name).templates)


def _prompt_file(name: str) -> Any:
    return OmegaConf.load(source_folder("conf") / "prompt" / f"{name}.yaml")


def name_own_choices(config: dict[str, Any]) -> None:
    """Names what is not as `conf/` has it: a data set in a folder or a file by that, changed prompts as such.

    A table then shows what differs. A config with mistakes is left to `validate.checked`.
    """
    match config.get("dataset"):
        case {"name": name, "kind": kind, "root": str(root)} if name == kind and root != MISSING:
            config["dataset"]["name"] = _name_of_path(expand_path(root))
    match config.get("prompt"):
        case {"name": name, "templates": [first, *others], "class_names": spelling} if name in names("prompt"):
            ours = _prompt_file(name)
            if [first, *others] != list(ours.templates):
                name = f"{first} and {len(others)} more" if others else str(first)
            config["prompt"]["name"] = name if spelling == ours.class_names else f"{name}, class names {spelling}"


def _name_of_path(path: Path) -> str:
    """A path's last part, with the folder above it where that is the name of a split."""
    from zeroshot.data.image_folder import SPLITS  # needs numpy

    whole = Path(os.path.abspath(path))  # without `..`
    return f"{whole.parent.name}/{whole.name}" if whole.name.lower() in SPLITS else whole.name or str(whole)
