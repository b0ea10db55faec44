"""What a network needs to know of its weights beside their shapes, from a config beside them or from their name."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

from zeroshot.errors import ZeroshotError, printable
from zeroshot.models.architecture import OPENAI_MEAN, OPENAI_STD, Activation, Architecture, Family
from zeroshot.models.preprocess import Resize

_LARGEST_CONFIG = 2**22

CONFIG_FILES = ("config.json", "open_clip_config.json", "preprocessor_config.json")  # beside weights, at a hub

Colour = tuple[float, float, float]  # red, green, blue, as fractions of full intensity


@dataclass(frozen=True)
class Settings:
    """How weights were trained, as far as it is known: None is unknown.

    `activation` is that of the MLPs; `mean` and `std` are those of the pixels; `resize` is how an image became square.
    """

    activation: str | None = None
    mean: Colour | None = None
    std: Colour | None = None
    resize: str | None = None

    def completed(self, other: "Settings") -> "Settings":
        """These settings, and those of `other` where these are unknown."""
        return Settings(*(getattr(self, each.name) or getattr(other, each.name) for each in fields(self)))

    @classmethod
    def from_metadata(cls, notes: Mapping[str, Any]) -> "Settings":
        """The settings that `metadata` wrote; what is of another form is unknown."""

        def colour(name: str) -> Colour | None:
            try:
                return _colour(str(notes[name]).split())
            except (KeyError, ValueError):
                return None

        activation, resize = notes.get("activation"), notes.get("resize")
        return cls(
            activation if activation in get_args(Activation) else None,
            colour("mean"),
            colour("std"),
            resize if resize in get_args(Resize) else None,
        )

    def metadata(self) -> dict[str, str]:
        """The known settings as texts, for the metadata of a safetensors file."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value if isinstance(value, str) else " ".join(map(repr, value))
            for name, value in values.items()
            if value is not None
        }


UNKNOWN = Settings()
_OPENAI = (OPENAI_MEAN, OPENAI_STD, "shortest")
_HALF = (0.5, 0.5, 0.5)

# Parts of the names of weights on the Hugging Face hub and in open_clip's releases; the first that fits counts.
# Source: open_clip's list of pretrained weights (version 3.3): `quick_gelu`, mean and std of each; of Chinese-CLIP
# cn_clip 1.6.0 (`clip/model.py`, `clip/utils.py`).
_NAMES = {
    "chinese-clip-vit": Settings("quick_gelu", OPENAI_MEAN, OPENAI_STD, "squash"),
    "clip-cn-vit": Settings("quick_gelu", OPENAI_MEAN, OPENAI_STD, "squash"),
    "quickgelu": Settings("quick_gelu", *_OPENAI),
    "openai--clip-vit": Settings("quick_gelu", *_OPENAI),
    "l-14-laion2b": Settings("gelu", _HALF, _HALF, "shortest"),
    "laion2b": Settings("gelu", *_OPENAI),
    "datacomp": Settings("gelu", *_OPENAI),
    "commonpool": Settings("gelu", *_OPENAI),
    "l-14-39b": Settings("gelu", *_OPENAI),
    "dfn2b": Settings("quick_gelu", *_OPENAI),
    "metaclip": Settings("quick_gelu", *_OPENAI),
    "b-16-laion400m": Settings("gelu", *_OPENAI),
    "l-14-laion400m": Settings("gelu", *_OPENAI),
    "patch32-clip-224.laion400m": Settings("quick_gelu", *_OPENAI),
    "patch16-clip-224.laion400m": Settings("gelu", *_OPENAI),
    "patch14-clip-224.laion400m": Settings("gelu", *_OPENAI),
}


def find_settings(file: Path, names: str, architecture: Architecture) -> Settings:
    """The settings by the configs beside the weights, and by the weights' name where those don't say.

    A config counts only if its sizes are those of `architecture`, since another model may be in the same folder.

    Raises:
        ZeroshotError: the config needs something that is not supported: another activation, different activations of
            the towers, another number of heads, another epsilon.
    """
    found = UNKNOWN
    readers = [("config.json", _huggingface), ("open_clip_config.json", _open_clip)]
    for name, reader in readers if names == "huggingface" else reversed(readers):
        config = file.parent / name
        if not config.is_file():
            continue
        try:
            found = found.completed(reader(config, architecture))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ZeroshotError(
                f"{config}: can't be read as a config, which the activation depends on ({printable(error)})"
            ) from error
    # in the hub's cache only the folder is named after the model
    words = [file.name, *(part for part in file.parts if part.startswith("models--"))]
    words = [word.lower().replace("_", "-") for word in words]
    by_name = next((each for part, each in _NAMES.items() if any(part in word for word in words)), UNKNOWN)
    return found.completed(by_name)


def _mapping(config: Path) -> dict[str, Any]:
    with config.open("rb") as stream:
        found = json.loads(stream.read(_LARGEST_CONFIG))
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class _Defaults:
    """What a model of transformers has where its config.json is silent; both towers have these heads and widths."""

    patch_size: int
    text_width: int
    text_heads: int
    activation: str
    epsilon: float
    text_activation: str
    text_epsilon: float


_MODEL_TYPES: dict[Family, _Defaults] = {
    "clip": _Defaults(32, 512, 8, "quick_gelu", 1e-5, "quick_gelu", 1e-5),
    "chinese_clip": _Defaults(32, 768, 12, "quick_gelu", 1e-5, "gelu", 1e-12),
    "siglip": _Defaults(16, 768, 12, "gelu_pytorch_tanh", 1e-6, "gelu_pytorch_tanh", 1e-6),
}
_ACTIVATIONS = {"gelu_pytorch_tanh": "gelu_tanh"}  # transformers' names where ours differ


def _huggingface(config: Path, size: Architecture) -> Settings:
    """From the config.json of a model of Hugging Face's transformers and its preprocessor."""
    found = _mapping(config)
    if found.get("model_type") != size.family:
        return UNKNOWN
    default = _MODEL_TYPES[size.family]
    # the older `…_config_dict` overrides its namesake there
    vision, text = (
        {**(found.get(f"{part}_config") or {}), **(found.get(f"{part}_config_dict") or {})}
        for part in ("vision", "text")
    )
    sizes = [vision.get("hidden_size", 768), vision.get("num_hidden_layers", 12)]
    sizes += [vision.get("patch_size", default.patch_size), text.get("hidden_size", default.text_width)]
    if sizes != _sizes(size):
        return UNKNOWN
    _require(config, "vision_config.num_attention_heads", vision.get("num_attention_heads", 12), size.vision_heads)
    _require(
        config, "text_config.num_attention_heads", text.get("num_attention_heads", default.text_heads), size.text_heads
    )
    for part, values, epsilon in (("vision", vision, default.epsilon), ("text", text, default.text_epsilon)):
        _require(config, f"{part}_config.layer_norm_eps", values.get("layer_norm_eps", epsilon), epsilon)
    given = vision.get("hidden_act", default.activation)
    activation = _ACTIVATIONS.get(given, given)
    text_activation = "gelu" if size.family == "chinese_clip" else given
    _require(config, "text_config.hidden_act", text.get("hidden_act", default.text_activation), text_activation)
    if activation not in get_args(Activation):
        raise ZeroshotError(
            f"{config}: hidden_act is {printable(given)}; quick_gelu, gelu and gelu_pytorch_tanh are supported"
        )
    preprocessor = config.with_name("preprocessor_config.json")
    pixels = _mapping(preprocessor) if preprocessor.is_file() else {}
    resize = None
    if "size" in pixels:
        side, crop = pixels["size"], size.family == "clip" and pixels.get("do_center_crop", True)
        squash = isinstance(side, dict) and "shortest_edge" not in side and not crop
        resize = "squash" if squash else "shortest"
    return Settings(str(activation), _colour(pixels.get("image_mean")), _colour(pixels.get("image_std")), resize)


def _open_clip(config: Path, size: Architecture) -> Settings:
    """From the open_clip_config.json of an open_clip model, which uses the exact GELU unless it says otherwise."""
    found = _mapping(config)
    model = found.get("model_cfg") or {}
    if size.family != "clip":  # those name a timm model or a language model instead of sizes
        return UNKNOWN
    vision, text = model.get("vision_cfg") or {}, model.get("text_cfg") or {}
    sizes = [vision.get("width"), vision.get("layers"), vision.get("patch_size"), text.get("width")]
    if sizes != _sizes(size):
        return UNKNOWN
    _require(config, "vision_cfg.head_width", vision.get("head_width", 64), size.vision_width // size.vision_heads)
    _require(config, "text_cfg.heads", text.get("heads", 8), size.text_heads)
    pixels = found.get("preprocess_cfg") or {}
    resize = pixels.get("resize_mode")
    if resize not in (None, *get_args(Resize)):
        raise ZeroshotError(f"{config}: resize_mode is {printable(resize)}; shortest and squash are supported")
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    return Settings(activation, _colour(pixels.get("mean")), _colour(pixels.get("std")), resize)


def _sizes(size: Architecture) -> list[int]:
    return [size.vision_width, size.vision_layers, size.patch_size, size.text_width]


def _colour(values: Any) -> Colour | None:
    """Three numbers; those that are OpenAI's to four digits are OpenAI's. None for an absent value.

    Raises:
        TypeError, ValueError: it is not three finite numbers.
    """
    if values is None:
        return None
    red, green, blue = (float(value) for value in values)
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError(f"{values} are not three finite numbers")
    for known in (OPENAI_MEAN, OPENAI_STD):
        if [round(value, 4) for value in (red, green, blue)] == [round(value, 4) for value in known]:
            return known
    return red, green, blue


def _require(config: Path, key: str, found: object, used: object) -> None:
    if found != used:
        raise ZeroshotError(
            f"{config}: {key} is {printable(found)}, but {used} is used here, so that its results would be wrong"
        )
