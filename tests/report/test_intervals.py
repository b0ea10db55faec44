"""The 95 % intervals, against published figures and what must hold of any interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeroshot.report.intervals import calibration_error, mean_of_shares, wilson
from zeroshot.scoring.metrics import expected_calibration_error


@pytest.mark.parametrize(
    ("correct", "size", "limits"),
    [  # Newcombe 1998, table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilsons_interval_is_that_of_the_literature(correct: int, size: int, limits: tuple[float, float]) -> None:
    assert wilson(correct, size) == pytest.approx(limits, abs=5e-5)


@given(st.integers(0, 50), st.integers(0, 5000))
def test_wilsons_interval_holds_its_share_and_mirrors(correct: int, more: int) -> None:
    size = correct + more
    low, high = wilson(correct, size)
    assert 0 <= low <= high <= 1
    assert size == 0 or low <= correct / size <= high
    assert wilson(size - correct, size) == pytest.approx((1 - high, 1 - low))


def test_the_mean_of_one_share_has_wilsons_interval() -> None:
    assert mean_of_shares(np.array([81, 0]), np.array([263, 0])) == pytest.approx(wilson(81, 263))


def test_the_interval_of_a_mean_of_shares_covers_the_truth_in_about_95_of_100_draws() -> None:
    draw = np.random.default_rng(3)
    truth, sizes = draw.uniform(0.1, 1, 20), draw.integers(2, 40, 20)
    covered = 0
    for _ in range(400):
        low, high = mean_of_shares(draw.binomial(sizes, truth), sizes)
        covered += low <= truth.mean() <= high
    assert 0.92 <= covered / 400 <= 1.0


def test_classes_that_are_all_right_are_not_taken_for_certain() -> None:
    low, high = mean_of_shares(np.array([2, 2, 2]), np.array([2, 2, 2]))
    assert low < 0.75
    assert high == 1


def test_the_interval_of_the_calibration_error_holds_it_and_narrows_with_more_images() -> None:
    draw = np.random.default_rng(5)
    widths = []
    for size in (100, 10_000):
        confidence = draw.uniform(0.2, 1, size)
        correct = draw.uniform(size=size) < confidence**2
        ece = expected_calibration_error(correct, confidence)
        low, high = calibration_error(correct, confidence, ece)
        assert 0 <= low < ece < high <= 1
        assert (low, high) == calibration_error(correct, confidence, ece)  # the same each time
        widths.append(high - low)
    assert widths[1] < widths[0] / 4
