"""The names that other projects give to openai/CLIP's tensors, and the known entries beside the weights."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zeroshot.models.architecture import CONTEXT_LENGTH, VOCABULARY, Architecture
from zeroshot.models.checkpoints.stored_tensors import Array


@dataclass(frozen=True)
class NameMap:
    """One project's tensor names.

    `sources` maps the name of one of OpenAI's tensors to this project's: to several where the tensor is stored in parts
    along its first axis. Those in `transposed` are stored transposed.
    """

    name: str
    sources: Callable[[str], tuple[str, ...]]
    transposed: frozenset[str] = frozenset()

    def shapes(self, name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The shape of each part of OpenAI's tensor `name`, by this project's name of the part."""
        sources = self.sources(name)
        if name in self.transposed:
            shape = shape[::-1]
        if len(sources) > 1:
            shape = (shape[0] // len(sources), *shape[1:])
        return dict.fromkeys(sources, shape)


def _mindformers(name: str) -> tuple[str, ...]:
    if re.search(r"(^|\.)ln_\w+\.", name):
        name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
    name = name.replace("in_proj_", "in_proj.").replace("token_embedding.weight", "token_embedding.embedding_table")
    return (name,)


# `pre_layrnorm` is how Hugging Face spells it
_HUGGINGFACE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.proj": "visual_projection.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "transformer.resblocks": "text_model.encoder.layers",
}
_HUGGINGFACE_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def _huggingface(name: str) -> tuple[str, ...]:
    if name in _HUGGINGFACE:
        return (_HUGGINGFACE[name],)
    if block := re.fullmatch(r"(.*resblocks)\.(\d+)\.(.+?)[._](weight|bias)", name):
        tower, layer, part, kind = block.groups()
        parts = [f"self_attn.{each}_proj" for each in "qkv"] if part == "attn.in_proj" else [_HUGGINGFACE_BLOCK[part]]
        return tuple(f"{_HUGGINGFACE[tower]}.{layer}.{each}.{kind}" for each in parts)
    module, _, kind = name.rpartition(".")
    return (f"{_HUGGINGFACE[module]}.{kind}",) if module else (name,)


NAME_MAPS = (
    NameMap("openai", lambda name: (name,)),
    NameMap("huggingface", _huggingface, frozenset({"visual.proj", "text_projection"})),
    NameMap("mindformers", _mindformers),
)


def _count_up(values: Array, length: int) -> bool:
    return np.array_equal(values.reshape(-1), np.arange(length))


def _causal(values: Array, _: Architecture) -> bool:
    """Whether a mask hides later positions and nothing else."""
    square = (CONTEXT_LENGTH, CONTEXT_LENGTH)
    later = np.triu(np.ones(square, bool), 1)
    return values.shape == square and bool(np.all(values[~later] == 0) and np.all(values[later] < -1e4))


# Known entries beside the weights, by name, and what must be true of their values.
EXTRAS: dict[str, Callable[[Array, Architecture], bool]] = {
    r"input_resolution": lambda values, size: values.size == 1 and values.item() == size.image_size,
    r"context_length": lambda values, _: values.size == 1 and values.item() == CONTEXT_LENGTH,
    r"vocab_size": lambda values, _: values.size == 1 and values.item() == VOCABULARY,
    r"(.*\.)?attn_mask": _causal,
    r"text_model\.embeddings\.position_ids": lambda values, _: _count_up(values, CONTEXT_LENGTH),
    r"vision_model\.embeddings\.position_ids": lambda values, size: _count_up(values, size.patches + 1),
    r"epoch_num|step_num": lambda *_: True,  # added by MindSpore's callbacks
}


def find_extra_check(name: str) -> Callable[[Array, Architecture], bool] | None:
    """The check of an entry beside the weights by its name, or None if the entry is unknown."""
    return next((check for pattern, check in EXTRAS.items() if re.fullmatch(pattern, name)), None)
