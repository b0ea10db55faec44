"""What a config beside the weights, or their name, tells of a network that shapes cannot: above all its activation."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import HEAD_WIDTH, Architecture
from zeroshot.models.checkpoints.stored_tensors import shown
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


def told_activation(file: Path, spelling: str, architecture: Architecture) -> str | None:
    """The activation, quick_gelu or gelu, where a config beside the weights or their name tells it; else None.

    A config counts where its sizes are those of `architecture`: another model's may lie in the same folder. Raises
    ZeroshotError where it tells of something that this program does not do: another activation, towers that differ,
    heads that are not 64 wide, another epsilon, pixels normalised otherwise.
    """
    readers = [("config.json", _huggingface), ("open_clip_config.json", _open_clip)]
    for name, reader in readers if spelling == "huggingface" else reversed(readers):
        config = file.parent / name
        if not config.is_file():
            continue
        try:
            told = reader(config, architecture)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ZeroshotError(f"{config}: no config, though the activation stands in it ({shown(error)})") from error
        if told is not None:
            return told
    # the hub's cache calls a file after what it is, and only the folder after the model
    names = [file.name, *(part for part in file.parts if part.startswith("models--"))]
    return next((told for part, told in _NAMES.items() if any(part in name.lower() for name in names)), None)


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
    _hold(config, "vision_config.num_attention_heads", vision.get("num_attention_heads", 12), _heads(size.vision_width))
    _hold(config, "text_config.num_attention_heads", text.get("num_attention_heads", 8), _heads(size.text_width))
    _hold(config, "vision_config.layer_norm_eps", vision.get("layer_norm_eps", 1e-5), 1e-5)
    _hold(config, "text_config.layer_norm_eps", text.get("layer_norm_eps", 1e-5), 1e-5)
    preprocessor = config.with_name("preprocessor_config.json")
    if preprocessor.is_file():
        _hold_pixels(preprocessor, "image_", _mapping(preprocessor))
    told = vision.get("hidden_act", "quick_gelu")
    _hold(config, "text_config.hidden_act", text.get("hidden_act", "quick_gelu"), told)
    if told not in ("quick_gelu", "gelu"):
        raise ZeroshotError(f"{config}: hidden_act is {shown(told)}, where quick_gelu and gelu are known")
    return str(told)


def _open_clip(config: Path, size: Architecture) -> str | None:
    """From the open_clip_config.json of an open_clip model, which has the plain GELU unless it says otherwise."""
    found = _mapping(config)
    model = found.get("model_cfg") or {}
    vision, text = model.get("vision_cfg") or {}, model.get("text_cfg") or {}
    sizes = [vision.get("width"), vision.get("layers"), vision.get("patch_size"), text.get("width")]
    if sizes != [size.vision_width, size.vision_layers, size.patch_size, size.text_width]:
        return None
    _hold(config, "vision_cfg.head_width", vision.get("head_width", HEAD_WIDTH), HEAD_WIDTH)
    _hold(config, "text_cfg.heads", text.get("heads", 8), _heads(size.text_width))
    _hold_pixels(config, "", found.get("preprocess_cfg") or {})
    return "quick_gelu" if model.get("quick_gelu") else "gelu"


def _heads(width: int) -> int:
    return width // HEAD_WIDTH


def _hold_pixels(config: Path, prefix: str, found: Mapping[str, Any]) -> None:
    for key, here in (("mean", OPENAI_MEAN), ("std", OPENAI_STD)):
        there = found.get(prefix + key)
        if there is not None:
            _hold(config, prefix + key, _rounded(there), _rounded(here))


def _rounded(values: Iterable[Any]) -> list[float]:
    return [round(float(value), 4) for value in values]


def _hold(config: Path, key: str, there: object, here: object) -> None:
    if there != here:
        raise ZeroshotError(f"{config}: {key} is {shown(there)}, where this program has {here}: it would score wrongly")
