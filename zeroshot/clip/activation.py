"""What a config beside the weights, or their name, tells of a network that shapes cannot: above all its activation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zeroshot.clip.architecture import HEAD_WIDTH, Architecture
from zeroshot.errors import ZeroshotError

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
    """ "quick_gelu" or "gelu" where a config beside the weights, or their name, tells; else None.

    A config counts where its sizes are those of `architecture`: another model's may lie in the same folder. Raises
    ZeroshotError where it tells of a network that this program does not have: another activation, width of heads or
    epsilon, towers that differ.
    """
    readers = [("config.json", _huggingface), ("open_clip_config.json", _open_clip)]
    for name, reader in readers if spelling == "huggingface" else reversed(readers):
        config = file.parent / name
        told = reader(config, _mapping(config), architecture) if config.is_file() else None
        if told is not None:
            return told
    # the hub's cache calls a file after what it is, and only the folder after the model
    names = [file.name, *(part for part in file.parts if part.startswith("models--"))]
    return next((told for part, told in _NAMES.items() if any(part in name.lower() for name in names)), None)


def _mapping(config: Path) -> dict[str, Any]:
    try:
        with config.open("rb") as stream:
            found = json.loads(stream.read(_LARGEST_CONFIG))
    except (OSError, ValueError, RecursionError) as error:
        raise ZeroshotError(f"{config}: cannot be read as JSON ({error}), and the activation stands in it") from error
    return found if isinstance(found, dict) else {}


def _huggingface(config: Path, found: Mapping[str, Any], size: Architecture) -> str | None:
    """From the config.json of a Hugging Face CLIPModel; what is not in it has the defaults of CLIPConfig."""
    if found.get("model_type") != "clip":
        return None
    # the older `…_config_dict` overrides its namesake there
    vision, text = (
        {**(found.get(f"{part}_config") or {}), **(found.get(f"{part}_config_dict") or {})}
        for part in ("vision", "text")
    )
    sizes = {
        "vision_config.hidden_size": (vision.get("hidden_size", 768), size.vision_width),
        "vision_config.num_hidden_layers": (vision.get("num_hidden_layers", 12), size.vision_layers),
        "vision_config.patch_size": (vision.get("patch_size", 32), size.patch_size),
        "text_config.hidden_size": (text.get("hidden_size", 512), size.text_width),
    }
    if any(there != here for there, here in sizes.values()):
        return None
    must = {
        "vision_config.num_attention_heads": (vision.get("num_attention_heads", 12), size.vision_width // HEAD_WIDTH),
        "text_config.num_attention_heads": (text.get("num_attention_heads", 8), size.text_width // HEAD_WIDTH),
        "vision_config.layer_norm_eps": (vision.get("layer_norm_eps", 1e-5), 1e-5),
        "text_config.layer_norm_eps": (text.get("layer_norm_eps", 1e-5), 1e-5),
    }
    _hold(config, must)
    activations = {tower.get("hidden_act", "quick_gelu") for tower in (vision, text)}
    if activations not in ({"quick_gelu"}, {"gelu"}):
        raise ZeroshotError(
            f"{config}: hidden_act is {' and '.join(map(str, activations))}; quick_gelu and gelu are known"
        )
    return str(activations.pop())


def _open_clip(config: Path, found: Mapping[str, Any], size: Architecture) -> str | None:
    """From the open_clip_config.json of an open_clip model, which has the plain GELU unless it says otherwise."""
    model = found.get("model_cfg")
    if not isinstance(model, dict):
        return None
    vision, text = model.get("vision_cfg") or {}, model.get("text_cfg") or {}
    there = [vision.get(key) for key in ("width", "layers", "patch_size")] + [text.get("width")]
    if there != [size.vision_width, size.vision_layers, size.patch_size, size.text_width]:
        return None
    must = {
        "vision_cfg.head_width": (vision.get("head_width", HEAD_WIDTH), HEAD_WIDTH),
        "text_cfg.heads": (text.get("heads", 8), size.text_width // HEAD_WIDTH),
    }
    _hold(config, must)
    return "quick_gelu" if model.get("quick_gelu", False) else "gelu"


def _hold(config: Path, must: Mapping[str, tuple[Any, Any]]) -> None:
    for key, (there, here) in must.items():
        if there != here:
            raise ZeroshotError(
                f"{config}: {key} is {there}, where this program's CLIP has {here}: it would score wrongly"
            )
