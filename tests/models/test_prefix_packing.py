"""Texts in trees: each is there whole, sees itself alone, and what they begin with in common is there once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zeroshot.models.architecture import CONTEXT_LENGTH
from zeroshot.models.prefix_packing import POSITIONS, TEXTS, TREES, Batch, Ids, batches

SOT, EOT = 1, 2
some_texts = st.lists(st.lists(st.integers(3, 6), max_size=CONTEXT_LENGTH - 2), min_size=1, max_size=60).map(
    lambda texts: sorted({(SOT, *text, EOT) for text in texts})
)


def seen_from(batch: Batch, slot: int) -> Ids:
    """What the end of a text sees, in the order of the depths: the text itself, if all is right."""
    tree = slot // TEXTS
    visible = np.flatnonzero(batch.visible[tree, batch.ends[tree, slot % TEXTS]])
    depths = batch.depths[tree, visible]
    assert sorted(depths) == list(range(len(depths)))
    return tuple(batch.tokens[tree, visible[np.argsort(depths)]].tolist())


@settings(max_examples=30, deadline=None)
@given(some_texts)
def test_every_text_comes_once_in_order_and_sees_itself_alone(texts: list[Ids]) -> None:
    found = [seen_from(batch, slot) for batch in batches(texts) for slot in batch.slots.tolist()]
    assert found == texts


@settings(max_examples=10, deadline=None)
@given(some_texts)
def test_a_position_sees_what_its_parent_sees_and_itself(texts: list[Ids]) -> None:
    for batch in batches(texts):
        for tree in range(TREES):
            for place, row in enumerate(batch.visible[tree]):
                others = np.flatnonzero(row)
                assert others[-1] == place  # itself, and only positions before it
                if len(others) > 1:
                    assert np.array_equal(np.flatnonzero(batch.visible[tree, others[-2]]), others[:-1])


def test_a_shared_beginning_takes_its_positions_once() -> None:
    texts = [(SOT, 9, 9, 9, end, EOT) for end in range(10, 20)]
    (batch,) = batches(texts)
    assert np.count_nonzero(batch.tokens) == 4 + 2 * len(texts)


@pytest.mark.parametrize("count", [1, TEXTS, TEXTS + 1, TREES * TEXTS, TREES * TEXTS + 1])
def test_any_number_of_texts_takes_one_shape(count: int) -> None:
    made = list(batches([(SOT, number, EOT) for number in range(3, 3 + count)]))
    assert {each.tokens.shape for each in made} == {(TREES, POSITIONS)}
    assert sum(len(each.slots) for each in made) == count


def test_texts_as_long_as_the_context_fit_one_by_one() -> None:
    texts = [(SOT, *[3 + text] * (CONTEXT_LENGTH - 2), EOT) for text in range(TREES + 1)]
    assert [len(batch.slots) for batch in batches(texts)] == [TREES, 1]
    assert not list(batches([]))
