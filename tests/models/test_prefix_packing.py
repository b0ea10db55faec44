"""Texts as prefix trees: each is complete, sees itself alone, and a common beginning is there once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zeroshot.models.architecture import CONTEXT_LENGTH
from zeroshot.models.prefix_packing import TEXTS_PER_TREE, TOKENS_PER_TREE, TREES_PER_BATCH, Batch, Ids, batches

SOT, EOT = 1, 2
some_texts = st.lists(st.lists(st.integers(3, 6), max_size=CONTEXT_LENGTH - 2), min_size=1, max_size=60).map(
    lambda texts: sorted({(SOT, *text, EOT) for text in texts})
)


def seen_from(batch: Batch, slot: int) -> Ids:
    """What the end of a text sees, in the order of the positions: the text itself."""
    tree = slot // TEXTS_PER_TREE
    visible = np.flatnonzero(batch.visible[tree, batch.ends[tree, slot % TEXTS_PER_TREE]])
    positions = batch.positions[tree, visible]
    assert sorted(positions) == list(range(len(positions)))
    return tuple(batch.tokens[tree, visible[np.argsort(positions)]].tolist())


@settings(max_examples=30, deadline=None)
@given(some_texts)
def test_every_text_comes_once_in_order_and_sees_itself_alone(texts: list[Ids]) -> None:
    found = [seen_from(batch, slot) for batch in batches(texts) for slot in batch.slots.tolist()]
    assert found == texts


@settings(max_examples=10, deadline=None)
@given(some_texts)
def test_a_token_sees_what_its_parent_sees_and_itself(texts: list[Ids]) -> None:
    for batch in batches(texts):
        for tree in range(TREES_PER_BATCH):
            for place, row in enumerate(batch.visible[tree]):
                others = np.flatnonzero(row)
                assert others[-1] == place  # itself, and only positions before it
                if len(others) > 1:
                    assert np.array_equal(np.flatnonzero(batch.visible[tree, others[-2]]), others[:-1])


def test_a_common_beginning_takes_its_tokens_once() -> None:
    texts = [(SOT, 9, 9, 9, end, EOT) for end in range(10, 20)]
    (batch,) = batches(texts)
    assert np.count_nonzero(batch.tokens) == 4 + 2 * len(texts)


@pytest.mark.parametrize(
    "count",
    [1, TEXTS_PER_TREE, TEXTS_PER_TREE + 1, TREES_PER_BATCH * TEXTS_PER_TREE, TREES_PER_BATCH * TEXTS_PER_TREE + 1],
)
def test_any_number_of_texts_has_one_shape(count: int) -> None:
    found = list(batches([(SOT, number, EOT) for number in range(3, 3 + count)]))
    assert {each.tokens.shape for each in found} == {(TREES_PER_BATCH, TOKENS_PER_TREE)}
    assert sum(len(each.slots) for each in found) == count


def test_texts_as_long_as_the_context_have_a_tree_each() -> None:
    texts = [(SOT, *[3 + text] * (CONTEXT_LENGTH - 2), EOT) for text in range(TREES_PER_BATCH + 1)]
    assert [len(batch.slots) for batch in batches(texts)] == [TREES_PER_BATCH, 1]
    assert not list(batches([]))
