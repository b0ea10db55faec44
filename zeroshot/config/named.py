"""The models and prompt sets that `conf/` names, read without Hydra."""

from omegaconf import OmegaConf

from zeroshot.config.paths import source_folder
from zeroshot.config.schema import Model
from zeroshot.models.architecture import Architecture


def names(group: str) -> list[str]:
    """The names of a group's choices in `conf/`, sorted."""
    return sorted(path.stem for path in (source_folder("conf") / group).glob("*.yaml"))


def known_models() -> dict[str, Model]:
    """The models of `conf/model/` by name."""
    models = {}
    for name in names("model"):
        loaded = OmegaConf.load(source_folder("conf") / "model" / f"{name}.yaml")
        model = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Model), loaded))
        assert isinstance(model, Model)
        models[name] = model
    return models


def architecture(model: Model) -> Architecture:
    """The sizes of a model in plain numbers."""
    return Architecture(**{name: getattr(model, name) for name in Architecture.__dataclass_fields__})


def prompt_templates(name: str) -> list[str]:
    """The templates of a prompt set of `conf/prompt/`."""
    return list(OmegaConf.load(source_folder("conf") / "prompt" / f"{name}.yaml").templates)
