"""What a config beside the weights, or their name, says of a network that shapes can't: above all its activation."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zeroshot.errors import ZeroshotError, printable
from zeroshot.models.architecture import HEAD_WIDTH, Architecture
from zeroshot.models.preprocess import OPENAI_MEAN, OPENAI_STD

_LARGEST_CONFIG = 2**22

# Parts of the names of open_clip's weights on the Hugging Face hub and in its releases; the first that fits counts.
# Source: open_clip's list of pretrained weights, `quick_gelu` of each (version 3.3).
_NAMES = {
    "quickgelu": "quick_gelu",
    "openai--clip-vit": "quick_gelu",
    "laion2b": "gelu",
    "datacomp": "gelu",
    "commonpool": "gelu",
    "vit_b_16-laion400m": "gelu",
    "vit_l_14-laion400m": "gelu",
}


def find_activation(file: Path, names: str, architecture: Architecture) -> str | None:
    """The activation, quick_gelu or gelu, by a config beside the weights or by their name; None if neither says.

    A config counts only if its sizes are those of `architecture`, since another model may be in the same folder.

    Raises:
        ZeroshotError: the config needs something that is not supported: another activation, different activations of
            the towers, another head width, epsilon or pixel normalisation.
    """
    readers = [("config.json", _huggingface), ("open_clip_config.json", _open_clip)]
    for name, reader in readers if names == "huggingface" else reversed(readers):
        config = file.parent / name
        if not config.is_file():
            continue
        try:
            activation = reader(config, architecture)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ZeroshotError(
                f"{config}: can't be read as a config, which the activation depends on ({printable(error)})"
            ) from error
        if activation is not None:
            return activation
    # in the hub's cache only the folder is named after the model
    words = [file.name, *(part for part in file.parts if part.startswith("models--"))]
    return next((value for part, value in _NAMES.items() if any(part in word.lower() for word in words)), None)


def _mapping(config: Path) -> dict[str, Any]:
    with config.open("rb") as stream:
        found = json.loads(stream.read(_LARGEST_CONFIG))
    return found if isinstance(found, dict) else {}


def _huggingface(config: Path, size: Architecture) -> str | None:
    """From the config.json of a Hugging Face CLIPModel; what is not in it has the defaults of CLIPConfig."""
    found = _mapping(config)
    if found.get("model_type") != "clip":
        return None
    # the older `…_config_dict` overrides its namesake there
    vision, text = (
        {**(found.get(f"{part}_config") or {}), **(found.get(f"{part}_config_dict") or {})}
        for part in ("vision", "text")
    )
    sizes = [vision.get("hidden_size", 768), vision.get("num_hidden_layers", 12), vision.get("patch_size", 32)]
    if [*sizes, text.get("hidden_size", 512)] != [
        size.vision_width,
        size.vision_layers,
        size.patch_size,
        size.text_width,
    ]:
        return None
    _require(
        config, "vision_config.num_attention_heads", vision.get("num_attention_heads", 12), _heads(size.vision_width)
    )
    _require(config, "text_config.num_attention_heads", text.get("num_attention_heads", 8), _heads(size.text_width))
    _require(config, "vision_config.layer_norm_eps", vision.get("layer_norm_eps", 1e-5), 1e-5)
    _require(config, "text_config.layer_norm_eps", text.get("layer_norm_eps", 1e-5), 1e-5)
    preprocessor = config.with_name("preprocessor_config.json")
    if preprocessor.is_file():
        _require_pixels(preprocessor, "image_", _mapping(preprocessor))
    activation = vision.get("hidden_act", "quick_gelu")
    _require(config, "text_config.hidden_act", text.get("hidden_act", "quick_gelu"), activation)
    if activation not in ("quick_gelu", "gelu"):
        raise ZeroshotError(f"{config}: hidden_act is {printable(activation)}; quick_gelu and gelu are supported")
    return str(activation)


def _open_clip(config: Path, size: Architecture) -> str | None:
    """From the open_clip_config.json of an open_clip model, which uses the exact GELU unless it says otherwise."""
    found = _mapping(config)
    model = found.get("model_cfg") or {}
    vision, text = model.get("vision_cfg") or {}, model.get("text_cfg") or {}
    sizes = [vision.get("width"), vision.get("layers"), vision.get("patch_size"), text.get("width")]
    if sizes != [size.vision_width, size.vision_layers, size.patch_size, size.text_width]:
        return None
    _require(config, "vision_cfg.head_width", vision.get("head_width", HEAD_WIDTH), HEAD_WIDTH)
    _require(config, "text_cfg.heads", text.get("heads", 8), _heads(size.text_width))
    _require_pixels(config, "", found.get("preprocess_cfg") or {})
    return "quick_gelu" if model.get("quick_gelu") else "gelu"


def _heads(width: int) -> int:
    return width // HEAD_WIDTH


def _require_pixels(config: Path, prefix: str, found: Mapping[str, Any]) -> None:
    for key, here in (("mean", OPENAI_MEAN), ("std", OPENAI_STD)):
        there = found.get(prefix + key)
        if there is not None:
            _require(config, prefix + key, _rounded(there), _rounded(here))


def _rounded(values: Iterable[Any]) -> list[float]:
    return [round(float(value), 4) for value in values]


def _require(config: Path, key: str, found: object, used: object) -> None:
    if found != used:
        raise ZeroshotError(
            f"{config}: {key} is {printable(found)}, but {used} is used here, so that its results would be wrong"
        )
