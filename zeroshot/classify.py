"""Text features → class embeddings; image features × class embeddings → the best classes and their probabilities."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]

ROWS = 16  # images are multiplied exactly so many at a time: among another number of rows, BLAS may round one otherwise


@dataclass(frozen=True)
class Ranking:
    """The k best classes of each image, best first: ids and probabilities, both [N, k]."""

    ids: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @staticmethod
    def joined(parts: Iterable["Ranking"]) -> "Ranking":
        """The rankings of consecutive images as one."""
        listed = list(parts)
        return Ranking(
            np.concatenate([part.ids for part in listed]), np.concatenate([part.probabilities for part in listed])
        )


def class_embeddings(text_features: Floats, classes: int) -> NDArray[np.float64]:
    """One unit vector a class [classes, embed_dim]: the mean of its templates' unit vectors, made unit again.

    `text_features` [classes * templates, embed_dim] are unit vectors, class by class; the ensemble over the embedding
    space is that of Radford et al. 2021, section 3.1.4.
    """
    means = text_features.astype(np.float64).reshape(classes, -1, text_features.shape[-1]).mean(axis=1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)  # type: ignore[no-any-return]


def rank(batches: Iterable[Floats], embeddings: NDArray[np.float64], logit_scale: float, k: int) -> Iterator[Ranking]:
    """Ranks the classes for each batch of unit image features [N, embed_dim].

    Probabilities are softmax(logit scale × cosine) over all classes; equal scores keep the order of the classes. It is
    all in float64 and in blocks of one shape, so that neither a batch's size nor its other images change a bit of it.
    """
    k = min(k, len(embeddings))
    for features in batches:
        padded = np.zeros((-(-len(features) // ROWS) * ROWS, features.shape[1]))
        padded[: len(features)] = features
        products = padded.reshape(-1, ROWS, features.shape[1]) @ embeddings.T
        logits = logit_scale * products.reshape(len(padded), -1)[: len(features)]
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        ids = np.argsort(-logits, axis=1, kind="stable")[:, :k]
        yield Ranking(ids.astype(np.int64), np.take_along_axis(probabilities, ids, axis=1))
