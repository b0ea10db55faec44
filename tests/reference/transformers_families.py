"""transformers' `ChineseCLIPModel`, `SiglipModel` and `Siglip2Model` with given tensors: the references of ours.

Needs torch and transformers; this conversion is written apart from the package's own, so that neither hides a fault of
the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    ChineseCLIPConfig,
    ChineseCLIPModel,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
)

from zeroshot.models.architecture import Architecture

Tensors = Mapping[str, NDArray[np.float32]]

IMAGE = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.patch_embedding.bias": "visual.conv1.bias",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "vision_model.head.probe": "visual.pool.probe",
    "vision_model.head.attention.in_proj_weight": "visual.pool.attn.in_proj_weight",
    "vision_model.head.attention.in_proj_bias": "visual.pool.attn.in_proj_bias",
    "vision_model.head.attention.out_proj.weight": "visual.pool.attn.out_proj.weight",
    "vision_model.head.attention.out_proj.bias": "visual.pool.attn.out_proj.bias",
    "vision_model.head.layernorm.weight": "visual.pool.ln_2.weight",
    "vision_model.head.layernorm.bias": "visual.pool.ln_2.bias",
    "vision_model.head.mlp.fc1.weight": "visual.pool.mlp.c_fc.weight",
    "vision_model.head.mlp.fc1.bias": "visual.pool.mlp.c_fc.bias",
    "vision_model.head.mlp.fc2.weight": "visual.pool.mlp.c_proj.weight",
    "vision_model.head.mlp.fc2.bias": "visual.pool.mlp.c_proj.bias",
}
TEXT = {
    "text_model.embeddings.word_embeddings.weight": "token_embedding.weight",
    "text_model.embeddings.position_embeddings.weight": "positional_embedding",
    "text_model.embeddings.token_type_embeddings.weight": "token_type_embedding",
    "text_model.embeddings.LayerNorm.weight": "ln_embedding.weight",
    "text_model.embeddings.LayerNorm.bias": "ln_embedding.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_model.head.weight": "head.weight",
    "text_model.head.bias": "head.bias",
}
PARTS = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "attention.output.LayerNorm": "ln_1",
    "output.LayerNorm": "ln_2",
    "attention.output.dense": "attn.out_proj",
    "intermediate.dense": "mlp.c_fc",
    "output.dense": "mlp.c_proj",
}
THIRDS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
BERT_THIRDS = ("attention.self.query", "attention.self.key", "attention.self.value")


def model(size: Architecture, tensors: Tensors, activation: str, *, second: bool = False) -> Any:
    """The reference of an architecture, every one of its parameters set; `second` is `Siglip2Model`."""
    hidden = {"gelu_tanh": "gelu_pytorch_tanh"}.get(activation, activation)
    text: dict[str, int | str] = {
        "vocab_size": size.vocabulary,
        "max_position_embeddings": size.text_positions,
        "hidden_size": size.text_width,
        "intermediate_size": size.text_mlp_width,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": size.text_heads,
    }
    vision: dict[str, int | str] = {
        "image_size": size.image_size,
        "patch_size": size.patch_size,
        "hidden_size": size.vision_width,
        "intermediate_size": size.vision_mlp_width,
        "num_hidden_layers": size.vision_layers,
        "num_attention_heads": size.vision_heads,
        "hidden_act": hidden,
    }
    if size.family == "chinese_clip":
        vision["projection_dim"] = size.embed_dim
        config = ChineseCLIPConfig(text_config=text, vision_config=vision, projection_dim=size.embed_dim)
        built = ChineseCLIPModel(config)
    else:
        text |= {"hidden_act": hidden, "projection_size": size.embed_dim}
        if second:
            built = Siglip2Model(Siglip2Config(text_config=text, vision_config=vision | {"num_patches": size.patches}))
        else:
            built = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    built = built.eval()
    state = {}
    for name, parameter in built.state_dict().items():
        if name.endswith(("position_ids", "token_type_ids")):
            continue
        values = _value(name, tensors)
        if second and name == "vision_model.embeddings.patch_embedding.weight":
            values = values.transpose(0, 2, 3, 1)  # a patch's pixels come channels last
        state[name] = torch.from_numpy(np.array(values)).reshape(parameter.shape)
    missing, unexpected = built.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.endswith(("position_ids", "token_type_ids")) for name in missing), missing
    return built


def _value(name: str, tensors: Tensors) -> NDArray[np.float32]:
    single = IMAGE | TEXT
    if name in single:
        return tensors[single[name]]
    if name in ("logit_scale", "logit_bias"):
        return tensors[name]
    if name == "visual_projection.weight":
        return tensors["visual.proj"].T
    if name == "text_projection.weight":
        return tensors["text_projection"].T
    tower, _, _, layer, part = name.split(".", 4)
    block = f"{'visual.' * (tower == 'vision_model')}transformer.resblocks.{layer}"
    part, kind = part.rsplit(".", 1)
    for thirds in (THIRDS, BERT_THIRDS):
        if part in thirds:
            return np.split(tensors[f"{block}.attn.in_proj_{kind}"], 3)[thirds.index(part)]
    return tensors[f"{block}.{PARTS[part]}.{kind}"]


@torch.no_grad()
def image_features(
    built: Any, pixels: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Unit image features of uint8 [N, S, S, 3] pixels."""
    values = (pixels.astype(np.float32) / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
    if isinstance(built, Siglip2Model):
        p = built.config.vision_config.patch_size
        grid = pixels.shape[1] // p
        patches = values[:, : grid * p, : grid * p].reshape(len(pixels), grid, p, grid, p * 3)
        rows = torch.from_numpy(patches.transpose(0, 1, 3, 2, 4).reshape(len(pixels), grid * grid, p * p * 3).copy())
        shapes = torch.tensor([[grid, grid]] * len(pixels))
        mask = torch.ones(len(pixels), grid * grid, dtype=torch.int64)
        return _unit(built.get_image_features(rows, mask, shapes).pooler_output)
    found = built.get_image_features(torch.from_numpy(values.transpose(0, 3, 1, 2).copy()))
    return _unit(found.pooler_output)


@torch.no_grad()
def text_features(built: Any, ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Unit text features of the ids of each text, padded with 0 and masked where they have several lengths."""
    longest = max(map(len, ids))
    tokens = torch.tensor([[*each, *[0] * (longest - len(each))] for each in ids])
    mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in ids])
    given = {} if bool(mask.all()) else {"attention_mask": mask}
    return _unit(built.get_text_features(input_ids=tokens, **given).pooler_output)


def _unit(values: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray((values / values.norm(dim=-1, keepdim=True)).numpy())
