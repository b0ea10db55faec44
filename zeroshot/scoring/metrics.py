"""Metrics of an evaluation, from class ids and probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOP = 5  # the k of top-k beside top-1
BINS = 15  # of the expected calibration error

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Metrics:
    """Fractions of 1 over all images; `correct` is a count, and `top5` is None under six classes."""

    top1: float
    top5: float | None
    mean_per_class_recall: float
    ece: float
    correct: int


def measure(labels: Ints, ids: Ints, probabilities: NDArray[np.float64], classes: int) -> Metrics:
    """All metrics of N images, with the k best classes of each and their probabilities, both [N, k], best first."""
    hits = ids == labels[:, None]
    counts = confusion(labels, ids[:, 0], classes)
    images = counts.sum(axis=1)
    occurring = images > 0
    return Metrics(
        top1=float(hits[:, 0].mean()),
        top5=float(hits[:, :TOP].any(axis=1).mean()) if classes > TOP else None,
        mean_per_class_recall=float((counts.diagonal()[occurring] / images[occurring]).mean()),
        ece=expected_calibration_error(hits[:, 0], probabilities[:, 0]),
        correct=int(hits[:, 0].sum()),
    )


def confusion(labels: Ints, predictions: Ints, classes: int) -> Ints:
    """How often each label (row) was predicted as each class (column): [classes, classes]."""
    counts = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def calibration_bins(confidence: NDArray[np.float64]) -> Ints:
    """The bin of each probability [N], of `BINS` equal ones over (0, 1]; a bin includes its upper edge."""
    bins: Ints = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return bins


def expected_calibration_error(correct: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    """The mean distance of confidence and accuracy over 15 bins of equal width, weighted by their images.

    As in Guo et al. 2017, section 2.
    """
    bins = calibration_bins(confidence)
    gaps = np.bincount(bins, weights=correct.astype(np.float64) - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(correct))
