"""The schema of the keys of `model`, and of the addresses of files: plain dataclasses and enums, as in `schema.py`."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from zeroshot.models.architecture import CONTEXT_LENGTH, OPENAI_MEAN, OPENAI_STD, VOCABULARY


class Interpolation(Enum):
    """The filter that resizes images."""

    bicubic = "bicubic"
    bilinear = "bilinear"


class Family(Enum):
    """What a model is built like: OpenAI's CLIP, Chinese-CLIP with its BERT, or SigLIP."""

    clip = "clip"
    chinese_clip = "chinese_clip"
    siglip = "siglip"


class Activation(Enum):
    """The activation of the MLPs: OpenAI's x·sigmoid(1.702x), the exact GELU of later CLIPs, or its form with tanh."""

    quick_gelu = "quick_gelu"
    gelu = "gelu"
    gelu_tanh = "gelu_tanh"


class Score(Enum):
    """What scores are: a softmax over all labels, or a sigmoid of each label for itself, as SigLIP was trained."""

    softmax = "softmax"
    sigmoid = "sigmoid"


class Language(Enum):
    """What a model reads."""

    English = "English"
    Chinese = "Chinese"
    many = "many"


class Resize(Enum):
    """How an image becomes square: its shorter side is resized and the centre cut out, or both sides are resized."""

    shortest = "shortest"
    squash = "squash"


@dataclass
class Source:
    """One address of a file, and the sha256 of what it serves."""

    url: str = MISSING
    sha256: str | None = None


@dataclass
class Weights:
    """Where a model's weights come from: a path of the user's own wins, else the sources are tried in order."""

    path: str | None = None  # a file, a folder, or hf:ORG/NAME[@REVISION]
    sources: list[Source] = field(default_factory=list)
    licence: str | None = None  # of the weights, where it restricts their use


@dataclass
class Model:
    """One model: its family and sizes, how its images are resized, its weights."""

    name: str = MISSING
    family: Family = Family.clip
    embed_dim: int = MISSING
    image_size: int = MISSING
    patch_size: int = MISSING
    vision_width: int = MISSING
    vision_layers: int = MISSING
    text_width: int = MISSING
    text_layers: int = MISSING
    vision_heads: int | None = None  # null: heads 64 wide
    text_heads: int | None = None
    vision_mlp_width: int | None = None  # null: four times the width
    text_mlp_width: int | None = None
    vocabulary: int = VOCABULARY  # tokens
    context_length: int = CONTEXT_LENGTH  # tokens of a text at most
    language: Language = Language.English
    pad_token: str | None = None  # with which a SigLIP's tokenizer fills texts up
    score: Score = Score.softmax
    interpolation: Interpolation = Interpolation.bicubic
    activation: Activation = Activation.quick_gelu
    mean: list[float] = field(default_factory=lambda: list(OPENAI_MEAN))  # of pixels, as fractions of 1
    std: list[float] = field(default_factory=lambda: list(OPENAI_STD))
    resize: Resize = Resize.shortest
    weights: Weights = field(default_factory=Weights)
