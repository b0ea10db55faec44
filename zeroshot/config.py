"""The schema of every config key: plain dataclasses and enums; Hydra checks files and overrides against them."""

import copy
import os
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zeroshot.clip.architecture import Architecture
from zeroshot.errors import ZeroshotError


class Interpolation(Enum):
    """The filter that resizes images."""

    bicubic = "bicubic"
    bilinear = "bilinear"


class Activation(Enum):
    """The activation of the MLPs: OpenAI's x·sigmoid(1.702x), or the exact GELU of later CLIPs."""

    quick_gelu = "quick_gelu"
    gelu = "gelu"


class ClassNames(Enum):
    """How a class name enters a template: with spaces for underscores, or as the data set spells it."""

    spaces = "spaces"
    raw = "raw"


class Target(Enum):
    """What the network runs on; `auto` is Ascend where there is one, else the CPU."""

    auto = "auto"
    CPU = "CPU"
    Ascend = "Ascend"
    GPU = "GPU"


class Precision(Enum):
    """The type of weights and activations; `auto` is float32 on a CPU and float16 elsewhere."""

    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class Split(Enum):
    """A part of a data set."""

    train = "train"
    test = "test"


class Labels(Enum):
    """The 100 classes of CIFAR-100, or its 20 coarse ones."""

    fine = "fine"
    coarse = "coarse"


@dataclass
class Weights:
    """Where a model's weights come from: a path of the user's own wins."""

    path: str | None = None
    url: Any = None  # one address or a list of mirrors
    sha256: str | None = None  # of what lies at the url


@dataclass
class Model:
    """One CLIP: its sizes, how its images are resized, its weights."""

    name: str = MISSING
    embed_dim: int = MISSING
    image_size: int = MISSING
    patch_size: int = MISSING
    vision_width: int = MISSING
    vision_layers: int = MISSING
    text_width: int = MISSING
    text_layers: int = MISSING
    interpolation: Interpolation = Interpolation.bicubic
    activation: Activation = Activation.quick_gelu
    weights: Weights = field(default_factory=Weights)


@dataclass
class Prompt:
    """The templates that turn a class name into texts."""

    name: str = MISSING
    templates: list[str] = field(default_factory=list)
    class_names: ClassNames = ClassNames.spaces


@dataclass
class Device:
    """What the network runs on, and how many images at once."""

    target: Target = Target.auto
    id: int = 0
    dtype: Precision = Precision.auto
    batch_size: int = 16
    workers: int = 2  # threads that read and resize images


@dataclass
class Cifar:
    """CIFAR-10 or CIFAR-100 in the Python or the binary layout."""

    kind: str = "cifar"
    name: str = MISSING
    root: str = MISSING
    split: Split = Split.test
    labels: Labels = Labels.fine
    limit: int | None = None


@dataclass
class ImageFolder:
    """A folder per class."""

    kind: str = "image_folder"
    name: str = MISSING
    root: str = MISSING
    split: str = "test"
    class_names: str | None = None
    limit: int | None = None


@dataclass
class Csv:
    """A CSV file of paths and labels."""

    kind: str = "csv"
    name: str = MISSING
    root: str = MISSING
    split: str = "test"
    class_names: str | None = None
    limit: int | None = None


@dataclass
class Eval:
    """Top-1 and its kin over a data set."""

    name: str = "eval"


DATASETS: dict[str, type] = {"cifar": Cifar, "image_folder": ImageFolder, "csv": Csv}
STAGES: dict[str, type] = {"eval": Eval}


USER_TEXTS = (("prompt", "templates"),)


@dataclass
class Config:
    """All of a run. OmegaConf knows no union of dataclasses, so `dataset` and `stage` are typed by `checked`."""

    model: Model = MISSING
    prompt: Prompt = MISSING
    device: Device = MISSING
    dataset: Any = MISSING
    stage: Any = MISSING


def resolved(composed: DictConfig) -> dict[str, Any]:
    """The composed config as plain values, with the interpolations of our files done and those in user text left alone.

    Raises:
        ZeroshotError: an interpolation can't be resolved.
    """
    plain: Any = OmegaConf.to_container(composed, resolve=False, enum_to_str=True)
    texts = _take_texts(plain)
    try:
        config: Any = OmegaConf.to_container(OmegaConf.create(plain), resolve=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise ZeroshotError(_readable(error)) from error
    for (group, key), text in texts.items():
        config[group][key] = text
    return config  # type: ignore[no-any-return]


def checked(config: dict[str, Any]) -> Config:
    """The resolved config with every key typed, present and in its bounds.

    Raises:
        ZeroshotError: a key is missing, of a wrong type, out of its bounds, or not one of its kind's.
    """
    plain = copy.deepcopy(config)
    texts = _take_texts(plain)
    plain["dataset"] = _typed(plain, "dataset", DATASETS, "kind")
    plain["stage"] = _typed(plain, "stage", STAGES, "name")
    try:
        built = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    except OmegaConfBaseException as error:
        raise ZeroshotError(_readable(error)) from error
    assert isinstance(built, Config)
    for (group, key), text in texts.items():
        setattr(getattr(built, group), key, text)
    _check_sizes(built.model)
    for key, value in (("device.batch_size", built.device.batch_size), ("device.workers", built.device.workers)):
        _check(value >= 1, key, value, "give 1 or more")
    if (limit := built.dataset.limit) is not None:
        _check(limit >= 1, "dataset.limit", limit, "give 1 or more, or null for all images")
    templates = built.prompt.templates
    _check(isinstance(templates, list) and bool(templates), "prompt.templates", templates, "give a list such as ['{}']")
    for template in templates:
        _check(isinstance(template, str), "prompt.templates", template, "it is not a text: quote it")
    return built


def folder_of(name: str) -> Path:
    """Where `conf` or `experiments` lies: in the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return package / name if (package / name).is_dir() else package.parent / name


def templates_of(prompt: str) -> list[str]:
    """The templates of one of our own prompt sets."""
    return list(OmegaConf.load(folder_of("conf") / "prompt" / f"{prompt}.yaml").templates)


def known_models() -> dict[str, Model]:
    """Our own models by name."""
    models = {}
    for path in sorted((folder_of("conf") / "model").glob("*.yaml")):
        built = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Model), OmegaConf.load(path)))
        assert isinstance(built, Model)
        models[path.stem] = built
    return models


def architecture(model: Model) -> Architecture:
    """The sizes of the model, in plain numbers."""
    names = Architecture.__dataclass_fields__
    return Architecture(**{name: getattr(model, name) for name in names})


def path_of(text: str) -> Path:
    """A path as the user typed it, with `~` expanded."""
    return Path(text).expanduser()


def home() -> Path:
    """The folder of downloaded weights and data."""
    return path_of(os.environ.get("ZEROSHOT_HOME") or "~/.cache/zeroshot")


def _take_texts(config: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """Takes the user's own texts out of a config: `${…}` in them is text, not an interpolation."""
    return {
        (group, key): config[group].pop(key)
        for group, key in USER_TEXTS
        if isinstance(config.get(group), dict) and key in config[group]
    }


def _typed(config: dict[str, Any], group: str, kinds: dict[str, type], key: str) -> Any:
    node = config.get(group)
    kind = node.get(key) if isinstance(node, dict) else None
    if kind not in kinds:
        raise ZeroshotError(f"{group}.{key}={kind} is not one of {', '.join(kinds)}: choose one with {group}=NAME")
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kinds[kind]), node))
    except OmegaConfBaseException as error:
        raise ZeroshotError(_readable(error, group)) from error


def _check_sizes(model: Model) -> None:
    for name in Architecture.__dataclass_fields__:
        _check(getattr(model, name) >= 1, f"model.{name}", getattr(model, name), "give 1 or more")
    _check(
        model.image_size % model.patch_size == 0,
        "model.image_size",
        model.image_size,
        f"it must be a multiple of model.patch_size={model.patch_size}",
    )
    for key in ("vision_width", "text_width"):
        _check(getattr(model, key) % 64 == 0, f"model.{key}", getattr(model, key), "it must be a multiple of 64")


def _check(holds: bool, key: str, value: object, remedy: str) -> None:
    if not holds:
        raise ZeroshotError(f"{key}={value} can't be used: {remedy}")


def _readable(error: OmegaConfBaseException, group: str | None = None) -> str:
    key = getattr(error, "full_key", None) or ""
    if group and not key.startswith(group):
        key = f"{group}.{key}"
    reason = str(error.msg if hasattr(error, "msg") and error.msg else error).split("\n")[0]
    remedy = "" if "issing mandatory" not in reason else f": give it with {key}=…"
    return f"{key}: {reason}{remedy}"
