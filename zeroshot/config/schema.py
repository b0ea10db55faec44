"""The schema of every config key: plain dataclasses and enums; Hydra checks files and overrides against them."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from zeroshot.config.model_schema import Activation as Activation
from zeroshot.config.model_schema import Family as Family
from zeroshot.config.model_schema import Interpolation as Interpolation
from zeroshot.config.model_schema import Language as Language
from zeroshot.config.model_schema import Model as Model
from zeroshot.config.model_schema import Resize as Resize
from zeroshot.config.model_schema import Score as Score
from zeroshot.config.model_schema import Source as Source
from zeroshot.config.model_schema import Weights as Weights


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
    batch_size: int | None = None  # images at once; null: what is quickest on a CPU for the model's size
    workers: int = 2  # threads that read and resize images
    count: Any = 1  # devices at once, a number or `all`; more than one through Ray
    cluster: str | None = None  # null: this machine; auto or an address: a running Ray cluster


@dataclass
class Cifar:
    """CIFAR-10 or CIFAR-100 in the Python or the binary layout."""

    kind: str = "cifar"
    name: str = MISSING
    root: str = MISSING
    split: Split = Split.test
    labels: Labels = Labels.fine
    class_names: str | None = None  # a file of folder,name that names the classes otherwise, such as in Chinese
    limit: int | None = None
    sources: list[Source] = field(default_factory=list)  # of the archive


class Unreadable(Enum):
    """What becomes of images that can't be read: an error that lists them, or they are left out and recorded."""

    error = "error"
    skip = "skip"


@dataclass
class ImageFolder:
    """A folder per class."""

    kind: str = "image_folder"
    name: str = MISSING
    root: str = MISSING
    split: str = "test"
    class_names: str | None = None  # a file, or folders: the folders' names or labels as they are
    unreadable: Unreadable = Unreadable.error
    limit: int | None = None


@dataclass
class Csv:
    """A CSV file of paths and labels."""

    kind: str = "csv"
    name: str = MISSING
    root: str = MISSING
    split: str = "test"
    class_names: str | None = None  # a file, or folders: the folders' names or labels as they are
    unreadable: Unreadable = Unreadable.error
    limit: int | None = None


@dataclass
class Shapes:
    """The embedded data set, drawn anew from its seed."""

    kind: str = "shapes"
    name: str = MISSING
    split: Split = Split.test
    labels: Labels = Labels.fine
    seed: int | None = None  # another one gives other images
    size: int = 1000
    limit: int | None = None


@dataclass
class Eval:
    """Top-1 and its kin over a data set."""

    name: str = "eval"
    cache: bool = True  # whether image features are read from the store, and kept there


@dataclass
class Predict:
    """The best of some labels for some images."""

    name: str = "predict"
    images: Any = None  # one or a list of file, folder, glob and URL
    labels: Any = None  # a list
    labels_file: str | None = None  # one label a line
    top_k: int = 5
    cache: bool = True


@dataclass
class Report:
    """The runs under a folder, all of them or those chosen, or two side by side."""

    name: str = "report"
    root: str = "outputs"
    model: Any = None  # one name or a list; `*` stands for any letters
    dataset: Any = None
    prompt: Any = None
    compare: Any = None  # a list of two run folders


@dataclass
class Download:
    """Fetches what the run would need, for a machine that is offline later."""

    name: str = "download"


class SavedPrecision(Enum):
    """The type in which weights are written."""

    float32 = "float32"
    float16 = "float16"


@dataclass
class Convert:
    """Writes the model's weights as safetensors with OpenAI's names."""

    name: str = "convert"
    output: str = MISSING
    dtype: SavedPrecision = SavedPrecision.float32


@dataclass
class Check:
    """Compares the embedded model on this device with committed features."""

    name: str = "check"


@dataclass
class Models:
    """The models of `conf/model/` in a table."""

    name: str = "models"


DATASETS: dict[str, type] = {"cifar": Cifar, "image_folder": ImageFolder, "csv": Csv, "shapes": Shapes}
STAGES: dict[str, type] = {
    "eval": Eval,
    "predict": Predict,
    "report": Report,
    "download": Download,
    "convert": Convert,
    "check": Check,
    "models": Models,
}


@dataclass
class Config:
    """All of a run. OmegaConf knows no union of dataclasses, so `dataset` and `stage` are typed by
    `validate.checked`."""

    model: Model = MISSING
    prompt: Prompt = MISSING
    device: Device = MISSING
    dataset: Any = MISSING
    stage: Any = MISSING
