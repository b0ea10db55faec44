"""Texts packed as prefix trees: a common beginning is computed once, and several texts share a row of tokens.

A token of a causal transformer depends on the tokens before it alone. Texts with the same beginning therefore share its
tokens, and each text sees, of all tokens in its tree, only those on its own path from the root. The 1,800 prompts of
CIFAR-100 in 18 templates are 7,000 tokens so, 17,000 one by one, and 138,600 padded to the context length.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zeroshot.models.architecture import CONTEXT_LENGTH

TOKENS_PER_TREE = 80
TEXTS_PER_TREE = 24  # at most
TREES_PER_BATCH = 10  # one shape for every text, since each shape is compiled separately

Ids = tuple[int, ...]

assert TOKENS_PER_TREE >= CONTEXT_LENGTH, "a tree must have room for any text"


@dataclass(frozen=True)
class Batch:
    """Prefix trees as a text tower takes them; the rest of a row is padding that sees itself alone.

    `tokens` and `positions` are int32 [trees, tokens], a position being a token's place in its text; `visible` is bool
    [trees, tokens, tokens], row by row what a token sees; `ends` is int32 [trees, texts], where each text ends; `slots`
    are the places of the batch's own texts, in their order, among all `ends`.
    """

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    visible: NDArray[np.bool_]
    ends: NDArray[np.int32]
    slots: NDArray[np.int64]


def batches(texts: Sequence[Ids]) -> Iterator[Batch]:
    """The batches of these texts' trees, in order; sorted and distinct texts share the most."""
    waiting: list[list[Ids]] = []
    for tree in _trees(texts):
        waiting.append(tree)
        if len(waiting) == TREES_PER_BATCH:
            yield _batch(waiting)
            waiting = []
    if waiting:
        yield _batch(waiting)


def _trees(texts: Iterable[Ids]) -> Iterator[list[Ids]]:
    """The texts in groups, each of which fits into a tree."""
    tree: list[Ids] = []
    used = 0
    for text in texts:
        new = len(text) - (_common_prefix(tree[-1], text) if tree else 0)
        if tree and (used + new > TOKENS_PER_TREE or len(tree) == TEXTS_PER_TREE):
            yield tree
            tree, used, new = [], 0, len(text)
        tree.append(text)
        used += new
    if tree:
        yield tree


def _batch(trees: Sequence[Sequence[Ids]]) -> Batch:
    tokens, positions = np.zeros((2, TREES_PER_BATCH, TOKENS_PER_TREE), np.int32)
    visible = np.tile(np.eye(TOKENS_PER_TREE, dtype=np.bool_), (TREES_PER_BATCH, 1, 1))
    ends = np.zeros((TREES_PER_BATCH, TEXTS_PER_TREE), np.int32)
    for row, tree in enumerate(trees):
        path: list[int] = []  # the columns of the current text, from the root
        used, previous = 0, Ids()
        for slot, text in enumerate(tree):
            del path[_common_prefix(previous, text) :]
            for token in text[len(path) :]:
                tokens[row, used], positions[row, used] = token, len(path)
                if path:
                    visible[row, used] |= visible[row, path[-1]]
                path.append(used)
                used += 1
            ends[row, slot] = path[-1]
            previous = text
    slots = [row * TEXTS_PER_TREE + slot for row, tree in enumerate(trees) for slot in range(len(tree))]
    return Batch(tokens, positions, visible, ends, np.array(slots))


def _common_prefix(one: Ids, other: Ids) -> int:
    """How many tokens two texts have in common from the first on."""
    different = (place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    return next(different, min(len(one), len(other)))
