"""Image features × class embeddings → the best classes of each image and their probabilities."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zeroshot.models.feature_batch import FeatureBatch

ROWS = 16  # images are multiplied exactly so many at a time: BLAS may round a row otherwise with another number of rows


@dataclass(frozen=True)
class Ranking:
    """The k best classes of each image, best first: ids and probabilities, both [N, k], and the images' places [N]."""

    places: NDArray[np.int64]
    ids: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @staticmethod
    def concatenate(rankings: Iterable["Ranking"], k: int) -> "Ranking":
        """The rankings of consecutive images as one; `k` is the number of classes where there are no images."""
        empty = Ranking(np.zeros(0, np.int64), np.zeros((0, k), np.int64), np.zeros((0, k)))
        listed = [empty, *rankings]
        return Ranking(
            np.concatenate([each.places for each in listed]),
            np.concatenate([each.ids for each in listed]),
            np.concatenate([each.probabilities for each in listed]),
        )

    def select(self, rows: NDArray[np.bool_]) -> "Ranking":
        """The ranking of some of the images, by a mask [N]."""
        return Ranking(self.places[rows], self.ids[rows], self.probabilities[rows])


def rank(
    batches: Iterable[FeatureBatch],
    class_embeddings: NDArray[np.float64],
    logit_scale: float,
    k: int,
    logit_bias: float | None = None,
) -> Iterator[Ranking]:
    """Ranks the classes for each batch of images, at most `k` of them.

    Probabilities are softmax(logit scale × cosine) over all classes, or, where there is a logit bias, each class's own
    sigmoid(logit scale × cosine + logit bias); equal scores keep the order of the classes. All is computed in float64
    and in blocks of one shape, so that neither batch size nor other images change a bit.
    """
    k = min(k, len(class_embeddings))
    for batch in batches:
        count, width = batch.features.shape
        padded = np.zeros((-(-count // ROWS) * ROWS, width))
        padded[:count] = batch.features
        cosines = padded.reshape(-1, ROWS, width) @ class_embeddings.T
        logits = logit_scale * cosines.reshape(len(padded), len(class_embeddings))[:count]
        if logit_bias is None:
            logits -= logits.max(axis=1, keepdims=True)
            probabilities = np.exp(logits)
            probabilities /= probabilities.sum(axis=1, keepdims=True)
        else:
            probabilities = 1 / (1 + np.exp(-(logits + logit_bias)))
        ids = np.argsort(-logits, axis=1, kind="stable")[:, :k].astype(np.int64)
        yield Ranking(batch.places, ids, np.take_along_axis(probabilities, ids, axis=1))
