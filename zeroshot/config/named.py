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
    return list(OmegaConf.load(source_folder("conf") / "prompt" / f"{name}.yaml").templates)
