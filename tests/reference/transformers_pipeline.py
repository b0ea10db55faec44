"""transformers' own zero-shot-image-classification pipeline with drawn weights: the reference of ours.

No hub is asked: its tokenizer is made of our merge table, its image processor of the figures that OpenAI published.
"""

import gzip
from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken
from transformers import CLIPImageProcessor, CLIPTokenizer, ZeroShotImageClassificationPipeline
from transformers.image_utils import PILImageResampling

from tests.reference import transformers_clip
from zeroshot.models.architecture import CONTEXT_LENGTH, Architecture
from zeroshot.models.tokenizer import END_OF_WORD, MERGE_TABLE, MERGES, _is_printable, _symbol


def tokenizer() -> CLIPTokenizer:
    """transformers' CLIPTokenizer with OpenAI's vocabulary."""
    with gzip.open(MERGE_TABLE, "rt", encoding="utf-8") as table:
        merges = [tuple(line.split()) for line in islice(table, 1, MERGES + 1)]
    symbols = [_symbol(byte) for byte in sorted(range(256), key=lambda byte: (not _is_printable(byte), byte))]
    words = [*symbols, *(symbol + END_OF_WORD for symbol in symbols), *("".join(pair) for pair in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    end = AddedToken("<|endoftext|>", special=True, normalized=False)
    vocabulary: Any = {word: place for place, word in enumerate(words)}
    built = CLIPTokenizer(
        vocab=vocabulary, merges=merges, pad_token=end, eos_token=end, model_max_length=CONTEXT_LENGTH
    )
    assert built("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    return built


def pipeline(
    size: Architecture, tensors: Mapping[str, NDArray[np.float32]], interpolation: str = "bicubic"
) -> ZeroShotImageClassificationPipeline:
    """Their pipeline on a CPU, in float32."""
    processor = CLIPImageProcessor(
        size={"shortest_edge": size.image_size},
        crop_size=size.image_size,
        resample=PILImageResampling[interpolation.upper()],
    )
    return ZeroShotImageClassificationPipeline(
        model=transformers_clip.model(size, tensors), tokenizer=tokenizer(), image_processor=processor, device="cpu"
    )
