"""A transformers `CLIPModel` that holds given tensors of openai/CLIP's names: the reference that ours is held against.

Needs torch and transformers; this conversion is written apart from the package's own, so that neither hides a fault
of the other.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPConfig, CLIPModel

from zeroshot.models.architecture import CONTEXT_LENGTH, VOCABULARY, Architecture

TOWERS = {"vision_model": "visual.transformer", "text_model": "transformer"}
PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
SINGLE = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}


def config(size: Architecture, activation: str = "quick_gelu") -> CLIPConfig:
    """The configuration of transformers with these sizes."""
    text = {
        "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT_LENGTH,
        "hidden_size": size.text_width,
        "intermediate_size": 4 * size.text_width,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": size.text_heads,
        "hidden_act": activation,
        "projection_dim": size.embed_dim,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }
    vision = {
        "image_size": size.image_size,
        "patch_size": size.patch_size,
        "hidden_size": size.vision_width,
        "intermediate_size": size.vision_mlp_width,
        "num_hidden_layers": size.vision_layers,
        "num_attention_heads": size.vision_heads,
        "hidden_act": activation,
        "projection_dim": size.embed_dim,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=size.embed_dim)


def model(size: Architecture, tensors: Mapping[str, NDArray[np.float32]], activation: str = "quick_gelu") -> CLIPModel:
    """The reference model; every one of its parameters is set."""
    built = CLIPModel(config(size, activation)).eval()
    state = {}
    for name, parameter in built.state_dict().items():
        if name.endswith("position_ids"):
            continue
        state[name] = torch.from_numpy(np.array(_value(name, tensors))).reshape(parameter.shape)
    missing, unexpected = built.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith("position_ids") for name in missing), missing
    return built


def save(size: Architecture, tensors: Mapping[str, NDArray[np.float32]], folder: Path) -> Path:
    """Writes the reference model as transformers does, and gives the folder."""
    model(size, tensors).save_pretrained(folder)
    return folder


def features(built: CLIPModel, pixels: NDArray[np.uint8], tokens: NDArray[np.int32]) -> tuple[np.ndarray, np.ndarray]:
    """Unit image features of uint8 [N, S, S, 3] pixels, and unit text features of [N, 77] tokens."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    values = (pixels.astype(np.float32) / 255 - np.float32(OPENAI_CLIP_MEAN)) / np.float32(OPENAI_CLIP_STD)
    image = image_features(built, torch.from_numpy(values.transpose(0, 3, 1, 2).copy()))
    return image, text_features(built, tokens)


@torch.no_grad()
def image_features(built: CLIPModel, pixels: torch.Tensor) -> np.ndarray:
    """Unit image features of normalised [N, 3, S, S] pixels."""
    return _unit(built.visual_projection(built.vision_model(pixels).pooler_output))


@torch.no_grad()
def text_features(built: CLIPModel, tokens: NDArray[np.int32]) -> np.ndarray:
    """Unit text features of [N, 77] tokens, at all 77 positions."""
    return _unit(built.text_projection(built.text_model(torch.from_numpy(tokens.astype(np.int64))).pooler_output))


def _unit(values: torch.Tensor) -> np.ndarray:
    return (values / values.norm(dim=-1, keepdim=True)).numpy()


def _value(name: str, tensors: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    if name in SINGLE:
        return tensors[SINGLE[name]]
    if name == "visual_projection.weight":
        return tensors["visual.proj"].T
    if name == "text_projection.weight":
        return tensors["text_projection"].T
    tower, _, _, layer, part = name.split(".", 4)
    block = f"{TOWERS[tower]}.resblocks.{layer}"
    part, kind = part.rsplit(".", 1)
    if part in PARTS:
        return tensors[f"{block}.{PARTS[part]}.{kind}"]
    third = "qkv".index(part.removeprefix("self_attn.")[0])
    return np.split(tensors[f"{block}.attn.in_proj_{kind}"], 3)[third]
