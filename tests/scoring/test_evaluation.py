"""The evaluation takes values and returns values."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from zeroshot.models.feature_batch import FeatureBatch
from zeroshot.scoring import embed_classes, evaluate

AXES = np.eye(4, dtype=np.float32)


class AxisEncoder:
    """A text's feature is the axis of its last word; an image is its own feature."""

    logit_scale = 10.0
    logit_bias: float | None = None

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode_text_blocks(self, blocks: Iterable[Sequence[str]]) -> Iterator[NDArray[np.float32]]:
        for texts in blocks:
            self.texts += texts
            yield AXES[[int(text.split()[-1].strip(".")) for text in texts]]

    def feature_batches(self, images: Sequence[Any]) -> Iterator[FeatureBatch]:
        yield FeatureBatch(np.arange(len(images)), np.array(images))


def test_images_are_scored_among_the_classes() -> None:
    encoder = AxisEncoder()
    found = evaluate(
        encoder, list(AXES[[0, 1, 2, 3]]), np.array([0, 1, 2, 0]), ["0", "1", "2", "3"], ["a {}.", "the {}."]
    )
    assert found.metrics.correct == 3
    assert found.metrics.top1 == 0.75
    assert found.ranking.ids[:, 0].tolist() == [0, 1, 2, 3]
    assert encoder.texts == ["a 0.", "the 0.", "a 1.", "the 1.", "a 2.", "the 2.", "a 3.", "the 3."]


def test_given_features_replace_the_encoders_and_may_lack_images() -> None:
    features = [FeatureBatch(np.array([1]), AXES[[1]]), FeatureBatch(np.array([3]), AXES[[2]])]
    found = evaluate(AxisEncoder(), [None] * 4, np.array([0, 1, 2, 3]), ["0", "1", "2", "3"], ["{}"], features=features)
    assert found.labels.tolist() == [1, 3]
    assert found.ranking.places.tolist() == [1, 3]
    assert found.metrics.correct == 1


def test_the_images_of_some_classes_are_scored_among_all_classes() -> None:
    found = evaluate(AxisEncoder(), list(AXES[[0, 1, 1]]), np.array([0, 1, 2]), ["0", "1", "2"], ["{}"])
    some = found.of_classes([1, 2])
    assert some is not None
    assert (some.correct, some.top1) == (1, 0.5)
    assert found.of_classes([3]) is None


@pytest.mark.parametrize("block", [1, 3, 4096])
def test_class_embeddings_do_not_depend_on_the_block_of_texts(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zeroshot.scoring.class_embeddings.TEXTS_PER_BLOCK", block)
    found = embed_classes(AxisEncoder(), ["2", "0", "1"], ["{}", "a {}"])
    assert found.tolist() == AXES[[2, 0, 1]].tolist()


def test_a_batch_of_which_no_image_can_be_read_is_left_out() -> None:
    class Unreadable(AxisEncoder):
        def feature_batches(self, images: Sequence[Any]) -> Iterator[FeatureBatch]:
            yield FeatureBatch(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), {})
            yield FeatureBatch(np.array([1]), AXES[[2]], {})

    found = evaluate(Unreadable(), [None, None], np.array([0, 2]), ["0", "1", "2", "3"], ["a {}."])
    assert (found.labels.tolist(), found.ranking.places.tolist(), found.metrics.top1) == ([2], [1], 1.0)
