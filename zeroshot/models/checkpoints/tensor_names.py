"""The names that projects give to the tensors of a network, and the known entries beside the weights."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from zeroshot.models.architecture import Architecture, Family
from zeroshot.models.checkpoints.stored_tensors import Array


@dataclass(frozen=True)
class NameMap:
    """One project's tensor names.

    `sources` maps the name of one of our tensors (`Architecture.shapes`) to this project's: to several where the tensor
    is stored in parts along its first axis, of equal size, or the second twice as large as the first in `uneven`. Those
    in `transposed` are stored transposed, those in `nested` with a first axis of length 1.
    """

    name: str
    sources: Callable[[str], tuple[str, ...]]
    transposed: frozenset[str] = frozenset()
    uneven: frozenset[str] = frozenset()
    nested: frozenset[str] = frozenset()

    def shapes(self, name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The shape of each part of our tensor `name`, by this project's name of the part."""
        sources = self.sources(name)
        if name in self.transposed:
            shape = shape[::-1]
        if name in self.nested:
            shape = (1, *shape)
        if name in self.uneven:
            third = shape[0] // 3
            return dict(zip(sources, [(third, *shape[1:]), (2 * third, *shape[1:])], strict=True))
        if len(sources) > 1:
            shape = (shape[0] // len(sources), *shape[1:])
        return dict.fromkeys(sources, shape)


def _ours(name: str) -> tuple[str, ...]:
    return (name,)


def _mindformers(name: str) -> tuple[str, ...]:
    if re.search(r"(^|\.)ln_\w+\.", name):
        name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
    name = name.replace("in_proj_", "in_proj.").replace("token_embedding.weight", "token_embedding.embedding_table")
    return (name,)


def _by_tables(
    modules: Mapping[str, str], towers: Mapping[str, tuple[str, Mapping[str, tuple[str, ...]]]]
) -> Callable[[str], tuple[str, ...]]:
    """The names of a project by tables.

    `modules` has its names of tensors, and of modules whose tensors have the same last part; `towers` has, by our name
    of a tower's blocks, its own and the parts of a block. What is in neither has our name.
    """

    def sources(name: str) -> tuple[str, ...]:
        if name in modules:
            return (modules[name],)
        block = re.fullmatch(r"(.*resblocks)\.(\d+)\.(.+?)[._](weight|bias)", name)
        if block and block[1] in towers:
            tower, layer, part, kind = block.groups()
            here, parts = towers[tower]
            return tuple(f"{here}.{layer}.{each}.{kind}" for each in parts[part])
        module, _, kind = name.rpartition(".")
        return (f"{modules[module]}.{kind}" if module in modules else name,)

    return sources


_LAYER = {  # of Hugging Face's transformers
    "ln_1": ("layer_norm1",),
    "ln_2": ("layer_norm2",),
    "attn.in_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.out_proj": ("self_attn.out_proj",),
    "mlp.c_fc": ("mlp.fc1",),
    "mlp.c_proj": ("mlp.fc2",),
}
_BERT_LAYER = {
    "ln_1": ("attention.output.LayerNorm",),
    "ln_2": ("output.LayerNorm",),
    "attn.in_proj": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attn.out_proj": ("attention.output.dense",),
    "mlp.c_fc": ("intermediate.dense",),
    "mlp.c_proj": ("output.dense",),
}
_TIMM_LAYER = {
    "ln_1": ("norm1",),
    "ln_2": ("norm2",),
    "attn.in_proj": ("attn.qkv",),
    "attn.out_proj": ("attn.proj",),
    "mlp.c_fc": ("mlp.fc1",),
    "mlp.c_proj": ("mlp.fc2",),
}
_HUGGINGFACE_IMAGE = {  # `pre_layrnorm` is how Hugging Face spells it
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1": "vision_model.embeddings.patch_embedding",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.proj": "visual_projection.weight",
}
_HUGGINGFACE_TEXT = {
    "token_embedding": "text_model.embeddings.token_embedding",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
}
_HUGGINGFACE_POOL = {
    "head": "text_model.head",
    "visual.pool.probe": "vision_model.head.probe",
    "visual.pool.attn.in_proj_weight": "vision_model.head.attention.in_proj_weight",
    "visual.pool.attn.in_proj_bias": "vision_model.head.attention.in_proj_bias",
    "visual.pool.attn.out_proj": "vision_model.head.attention.out_proj",
    "visual.pool.ln_2": "vision_model.head.layernorm",
    "visual.pool.mlp.c_fc": "vision_model.head.mlp.fc1",
    "visual.pool.mlp.c_proj": "vision_model.head.mlp.fc2",
}
_OPEN_CLIP_SIGLIP = {  # whose image tower is timm's
    "visual.positional_embedding": "visual.trunk.pos_embed",
    "visual.conv1": "visual.trunk.patch_embed.proj",
    "visual.ln_post": "visual.trunk.norm",
    "visual.pool.probe": "visual.trunk.attn_pool.latent",
    "visual.pool.attn.out_proj": "visual.trunk.attn_pool.proj",
    "visual.pool.ln_2": "visual.trunk.attn_pool.norm",
    "visual.pool.mlp.c_fc": "visual.trunk.attn_pool.mlp.fc1",
    "visual.pool.mlp.c_proj": "visual.trunk.attn_pool.mlp.fc2",
    "token_embedding": "text.token_embedding",
    "positional_embedding": "text.positional_embedding",
    "ln_final": "text.ln_final",
    "head": "text.text_projection",
}
_POOL_IN_PROJ = ("visual.pool.attn.in_proj_weight", "visual.pool.attn.in_proj_bias")


def _bert(root: str) -> dict[str, str]:
    return {
        "token_embedding": f"{root}.embeddings.word_embeddings",
        "positional_embedding": f"{root}.embeddings.position_embeddings.weight",
        "token_type_embedding": f"{root}.embeddings.token_type_embeddings.weight",
        "ln_embedding": f"{root}.embeddings.LayerNorm",
    }


def _open_clip_siglip(name: str) -> tuple[str, ...]:
    if name in _POOL_IN_PROJ:
        kind = name.rpartition("_")[2]
        return f"visual.trunk.attn_pool.q.{kind}", f"visual.trunk.attn_pool.kv.{kind}"
    if name.startswith("transformer."):
        return (f"text.{name}",)
    return _by_tables(_OPEN_CLIP_SIGLIP, {"visual.transformer.resblocks": ("visual.trunk.blocks", _TIMM_LAYER)})(name)


_IMAGE_LAYERS = {"visual.transformer.resblocks": ("vision_model.encoder.layers", _LAYER)}
_TEXT_LAYERS = {"transformer.resblocks": ("text_model.encoder.layers", _LAYER)}
_PROJECTIONS = frozenset({"visual.proj", "text_projection"})
_OURS = NameMap("zeroshot", _ours)

# The name maps of each family. `zeroshot` is what `stage=convert` writes; for CLIP these are OpenAI's names.
NAME_MAPS: dict[Family, tuple[NameMap, ...]] = {
    "clip": (
        NameMap("openai", _ours),
        NameMap(
            "huggingface",
            _by_tables(_HUGGINGFACE_IMAGE | _HUGGINGFACE_TEXT, _IMAGE_LAYERS | _TEXT_LAYERS),
            _PROJECTIONS,
        ),
        NameMap("mindformers", _mindformers),
    ),
    "chinese_clip": (
        NameMap("cn_clip", _by_tables(_bert("bert"), {"transformer.resblocks": ("bert.encoder.layer", _BERT_LAYER)})),
        NameMap(
            "huggingface",
            _by_tables(
                _HUGGINGFACE_IMAGE | _bert("text_model") | {"text_projection": "text_projection.weight"},
                _IMAGE_LAYERS | {"transformer.resblocks": ("text_model.encoder.layer", _BERT_LAYER)},
            ),
            _PROJECTIONS,
        ),
        _OURS,
    ),
    "siglip": (
        NameMap(
            "huggingface",
            _by_tables(_HUGGINGFACE_IMAGE | _HUGGINGFACE_TEXT | _HUGGINGFACE_POOL, _IMAGE_LAYERS | _TEXT_LAYERS),
        ),
        NameMap(
            "open_clip",
            _open_clip_siglip,
            uneven=frozenset(_POOL_IN_PROJ),
            nested=frozenset({"visual.positional_embedding"}),
        ),
        _OURS,
    ),
}


def _count_up(values: Array, length: int) -> bool:
    return np.array_equal(values.reshape(-1), np.arange(length))


def _causal(values: Array, size: Architecture) -> bool:
    """Whether a mask hides later positions and nothing else."""
    square = (size.context_length, size.context_length)
    later = np.triu(np.ones(square, bool), 1)
    return values.shape == square and bool(np.all(values[~later] == 0) and np.all(values[later] < -1e4))


# Known entries beside the weights, by name, and what must be true of their values.
EXTRAS: dict[str, Callable[[Array, Architecture], bool]] = {
    r"input_resolution": lambda values, size: values.size == 1 and values.item() == size.image_size,
    r"context_length": lambda values, size: values.size == 1 and values.item() == size.context_length,
    r"vocab_size": lambda values, size: values.size == 1 and values.item() == size.vocabulary,
    r"(.*\.)?attn_mask": _causal,
    r"text_model\.embeddings\.position_ids": lambda values, size: _count_up(values, size.text_positions),
    r"vision_model\.embeddings\.position_ids": lambda values, size: _count_up(values, size.image_positions),
    r"epoch_num|step_num": lambda *_: True,  # added by MindSpore's callbacks
}


# Weights that BERT has and Chinese-CLIP does not use; they are not read.
UNUSED = re.compile(r"(bert|text_model)\.pooler\.dense\.(weight|bias)")


def find_extra_check(name: str) -> Callable[[Array, Architecture], bool] | None:
    """The check of an entry beside the weights by its name, or None if the entry is unknown."""
    return next((check for pattern, check in EXTRAS.items() if re.fullmatch(pattern, name)), None)
