"""How far a metric may be from its true value: 95 % confidence intervals, as pairs (lower, upper)."""

import numpy as np
from numpy.typing import NDArray

from zeroshot.scoring.metrics import BINS, calibration_bins

Z = 1.959964  # the normal distribution's 97.5 % point
RESAMPLES = 500
SEED = 0

Interval = tuple[float, float]


def wilson(correct: int, size: int) -> Interval:
    """The interval of a share `correct / size`: Wilson's score interval (Wilson 1927), (0, 1) where size is 0."""
    if size == 0:
        return 0.0, 1.0
    share, spread = correct / size, Z * Z / size
    centre = (share + spread / 2) / (1 + spread)
    half = Z * (share * (1 - share) / size + spread / (4 * size)) ** 0.5 / (1 + spread)
    return (centre - half if correct else 0.0), (centre + half if correct < size else 1.0)


def mean_of_shares(correct: NDArray[np.int64], sizes: NDArray[np.int64]) -> Interval:
    """The interval of the mean of independent shares `correct[k] / sizes[k]`, over those whose size is not 0.

    Each share's own Wilson limits are put together by MOVER (Zou and Donner 2008), so that a class of two images that
    are both right does not count as certain.
    """
    occurring = sizes > 0
    pairs = list(zip(correct[occurring].tolist(), sizes[occurring].tolist(), strict=True))
    if not pairs:
        return 0.0, 1.0
    shares = np.array([right / size for right, size in pairs])
    limits = np.array([wilson(right, size) for right, size in pairs])
    below, above = np.sqrt(((limits - shares[:, None]) ** 2).sum(axis=0)) / len(pairs)
    return max(0.0, float(shares.mean() - below)), min(1.0, float(shares.mean() + above))


def calibration_error(correct: NDArray[np.bool_], confidence: NDArray[np.float64], ece: float) -> Interval:
    """The interval of the expected calibration error `ece`: ± 1.96 standard deviations of a bootstrap over images."""
    bins = calibration_bins(confidence)
    gaps = correct.astype(np.float64) - confidence
    draw = np.random.default_rng(SEED)
    size = len(gaps)
    resampled = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        places = draw.integers(0, size, size)
        resampled[i] = np.abs(np.bincount(bins[places], weights=gaps[places], minlength=BINS)).sum() / size
    half = Z * float(resampled.std())
    return max(0.0, ece - half), min(1.0, ece + half)
