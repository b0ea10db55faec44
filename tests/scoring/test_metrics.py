"""Metrics by hand-worked examples and by their laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from zeroshot.scoring.metrics import confusion, expected_calibration_error, measure


def test_top1_and_top5_count_hits_and_recall_weighs_classes_alike() -> None:
    labels = np.array([0, 0, 0, 1])
    ids = np.array([[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [5, 4, 3, 2, 0], [2, 3, 4, 5, 0]])
    probabilities = np.tile([0.5, 0.2, 0.1, 0.1, 0.1], (4, 1))
    metrics = measure(labels, ids, probabilities, classes=6)
    assert metrics.correct == 2
    assert metrics.top1 == 0.5
    assert metrics.top5 == 0.75
    assert metrics.mean_per_class_recall == pytest.approx((2 / 3 + 0) / 2)  # classes that occur, no others


def test_top5_says_nothing_under_six_classes() -> None:
    assert measure(np.array([0]), np.array([[0, 1, 2, 3, 4]]), np.full((1, 5), 0.2), classes=5).top5 is None


def test_confusion_has_labels_in_rows() -> None:
    assert confusion(np.array([0, 1, 1]), np.array([1, 1, 0]), 3).tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_calibration_error_by_hand() -> None:
    # one bin of two at 0.95 with one right, one bin of one at 0.50 that is right
    error = expected_calibration_error(np.array([True, False, True]), np.array([0.95, 0.95, 0.5]))
    assert error == pytest.approx((2 * 0.45 + 1 * 0.5) / 3)


def test_a_bin_holds_its_upper_edge_and_certainty_counts() -> None:
    assert expected_calibration_error(np.array([True]), np.array([1.0])) == 0.0
    assert expected_calibration_error(np.array([False, True]), np.array([1 / 15, 1 / 15])) == pytest.approx(
        0.5 - 1 / 15
    )


@given(arrays(np.bool_, 40), arrays(np.float64, 40, elements=st.floats(0, 1)))
def test_calibration_error_is_within_its_bounds(correct: np.ndarray, confidence: np.ndarray) -> None:
    error = expected_calibration_error(correct, confidence)
    assert abs(correct.mean() - confidence.mean()) - 1e-12 <= error <= 1


@given(st.integers(1, 8), st.integers(0, 2**16))
def test_the_confusion_counts_every_image_once(classes: int, seed: int) -> None:
    drawn = np.random.default_rng(seed).integers(0, classes, (2, 50))
    counts = confusion(drawn[0], drawn[1], classes)
    assert counts.sum() == 50
    assert counts.diagonal().sum() == (drawn[0] == drawn[1]).sum()
