"""The names that other projects give to openai/CLIP's tensors, and the entries beside them that do no harm."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from zeroshot.models.architecture import CONTEXT_LENGTH, VOCABULARY, Architecture
from zeroshot.models.checkpoints.stored_tensors import Array


@dataclass(frozen=True)
class Spelling:
    """One project's names.

    `sources` gives its names of one of OpenAI's tensors: several where that tensor is stored in parts, whose rows
    follow one another. Those in `transposed` are stored the other way round.
    """

    name: str
    sources: Callable[[str], tuple[str, ...]]
    transposed: frozenset[str] = frozenset()

    def shapes(self, name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The shape here of each part of OpenAI's tensor `name`, by its name here."""
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


# `pre_layrnorm` is Hugging Face's spelling
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


SPELLINGS = (
    Spelling("openai", lambda name: (name,)),
    Spelling("huggingface", _huggingface, frozenset({"visual.proj", "text_projection"})),
    Spelling("mindformers", _mindformers),
)


def _count_up(values: Array, length: int) -> bool:
    return np.array_equal(values.reshape(-1), np.arange(length))


def _causal(values: Array, _: Architecture) -> bool:
    """A mask that hides what comes later, and nothing else."""
    square = (CONTEXT_LENGTH, CONTEXT_LENGTH)
    later = np.triu(np.ones(square, bool), 1)
    return values.shape == square and bool(np.all(values[~later] == 0) and np.all(values[later] < -1e4))


# Entries that weights may carry, by name, and what must be true of their values.
HARMLESS: dict[str, Callable[[Array, Architecture], bool]] = {
    r"input_resolution": lambda values, size: values.size == 1 and values.item() == size.image_size,
    r"context_length": lambda values, _: values.size == 1 and values.item() == CONTEXT_LENGTH,
    r"vocab_size": lambda values, _: values.size == 1 and values.item() == VOCABULARY,
    r"(.*\.)?attn_mask": _causal,
    r"text_model\.embeddings\.position_ids": lambda values, _: _count_up(values, CONTEXT_LENGTH),
    r"vision_model\.embeddings\.position_ids": lambda values, size: _count_up(values, size.patches + 1),
    r"epoch_num|step_num": lambda *_: True,  # what MindSpore's callbacks add
}


def harmless(name: str) -> Callable[[Array, Architecture], bool] | None:
    """The check of an entry that may stand beside the weights, or None where no such entry is known."""
    return next((check for pattern, check in HARMLESS.items() if re.fullmatch(pattern, name)), None)
