"""Texts padded to a few lengths, a row each, for text towers that are not causal: there a text shares no computation.

Each shape is compiled separately, so there are few of them, and a short last batch is padded with rows that are unused.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from zeroshot.models.architecture import Architecture
from zeroshot.models.prefix_packing import Batch, Ids

TOKENS_PER_BATCH = 832
SHORT = 16  # tokens; most labels in a template are no longer


def lengths(size: Architecture) -> tuple[int, ...]:
    """The lengths of rows, ascending. SigLIP was trained on full rows alone, whose padding is seen."""
    return (size.context_length,) if size.family == "siglip" else (min(SHORT, size.context_length), size.context_length)


def ordered(texts: Sequence[Ids]) -> list[Ids]:
    """The distinct texts, those of a length together."""
    return sorted(set(texts), key=lambda text: (len(text), text))


def batches(texts: Sequence[Ids], size: Architecture) -> Iterator[Batch]:
    """The batches of these texts, `ordered` and none longer than the context, in order.

    A token sees all of its own row's tokens and no padding; SigLIP's texts come with theirs. A text is read at its
    first token in Chinese-CLIP, at its last one in SigLIP.
    """
    for length, group in groupby(texts, key=lambda text: next(each for each in lengths(size) if len(text) <= each)):
        listed = list(group)
        rows = max(1, TOKENS_PER_BATCH // length)
        for start in range(0, len(listed), rows):
            yield _batch(listed[start : start + rows], rows, length, length - 1 if size.family == "siglip" else 0)


def _batch(texts: Sequence[Ids], rows: int, length: int, end: int) -> Batch:
    tokens = np.zeros((rows, length), np.int32)
    visible = np.zeros((rows, length, length), np.bool_)
    visible[:, :, 0] = True  # a row without a text sees something too: a softmax over nothing is not a number
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = text
        visible[row, :, : len(text)] = True
    positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
    return Batch(tokens, positions, visible, np.full((rows, 1), end, np.int32), np.arange(len(texts)))
