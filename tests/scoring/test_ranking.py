"""Class embeddings and rankings."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from zeroshot.models.feature_batch import FeatureBatch
from zeroshot.scoring.class_embeddings import mean_of_templates
from zeroshot.scoring.ranking import Ranking, rank


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def drawn(seed: int, *shape: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def batch(features: np.ndarray, start: int = 0) -> FeatureBatch:
    return FeatureBatch(np.arange(start, start + len(features)), features)


def test_an_ensemble_is_the_mean_of_unit_vectors_made_unit_again() -> None:
    features = np.array([[1, 0], [0, 1], [0.6, 0.8], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(mean_of_templates(features, 2), [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], rtol=1e-7)


def test_probabilities_are_the_softmax_of_scaled_cosines() -> None:
    images, embeddings = drawn(1, 4, 8), drawn(2, 6, 8).astype(np.float64)
    ranking = Ranking.concatenate(rank([batch(images)], embeddings, 100.0, 6), 6)
    exponentials = np.exp(100.0 * (images.astype(np.float64) @ embeddings.T))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.take_along_axis(expected, ranking.ids, 1), ranking.probabilities, rtol=1e-9)
    assert (np.diff(ranking.probabilities, axis=1) <= 0).all()
    assert ranking.ids.shape == (4, 6)


def test_equal_scores_keep_the_order_of_the_classes() -> None:
    embeddings = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    ranking = next(rank([batch(np.array([[1.0, 0.0]], np.float32))], embeddings, 10.0, 2))
    assert ranking.ids.tolist() == [[1, 2]]


def test_fewer_classes_than_k_are_all_ranked() -> None:
    assert next(rank([batch(drawn(1, 3, 4))], drawn(2, 2, 4).astype(np.float64), 1.0, 5)).ids.shape == (3, 2)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 23), st.integers(0, 2**16))
def test_the_split_into_batches_changes_nothing(size: int, seed: int) -> None:
    images, embeddings = drawn(seed, 23, 16), drawn(seed + 1, 9, 16).astype(np.float64)
    whole = Ranking.concatenate(rank([batch(images)], embeddings, 50.0, 5), 5)
    split = [batch(images[i : i + size], i) for i in range(0, 23, size)]
    parts = Ranking.concatenate(rank(split, embeddings, 50.0, 5), 5)
    assert whole.places.tolist() == parts.places.tolist() == list(range(23))
    assert whole.ids.tolist() == parts.ids.tolist()
    assert whole.probabilities.tobytes() == parts.probabilities.tobytes()
