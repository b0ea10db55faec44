"""The evaluation of a model on labelled images: values in, values out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zeroshot.errors import ZeroshotError
from zeroshot.models.feature_batch import FeatureBatch
from zeroshot.scoring.class_embeddings import TextEncoder, embed_classes
from zeroshot.scoring.metrics import TOP, Metrics, measure
from zeroshot.scoring.prompts import Spelling
from zeroshot.scoring.ranking import Ranking, rank


class ImageTextEncoder(TextEncoder, Protocol):
    """What an evaluation needs of an encoder."""

    logit_scale: float
    logit_bias: float | None  # of sigmoid scores

    def feature_batches(self, images: Sequence[Any], /) -> Iterable[FeatureBatch]:
        """Unit features of the images that can be read, a batch at a time."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    `labels` [N] are the class ids of the images that were scored, `ranking` their best classes; an image that could not
    be read is in neither. `ranking.places` are the places of those images in the sequence that was given.
    """

    labels: NDArray[np.int64]
    ranking: Ranking
    metrics: Metrics
    classes: int

    def of_classes(self, ids: Sequence[int]) -> Metrics | None:
        """The metrics of the images whose label is one of `ids`, all classes being candidates; None without images."""
        rows = np.isin(self.labels, ids)
        if not rows.any():
            return None
        ranking = self.ranking.select(rows)
        return measure(self.labels[rows], ranking.ids, ranking.probabilities, self.classes)


def evaluate(
    encoder: ImageTextEncoder,
    images: Sequence[Any],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    templates: Sequence[str],
    spelling: Spelling = "spaces",
    features: Iterable[FeatureBatch] | None = None,
) -> Evaluation:
    """Scores labelled images among class names.

    Args:
        encoder: encodes the texts, and the images where `features` is None.
        images: the images, in any form that the encoder reads.
        labels: their class ids [N].
        class_names: the names of the classes by id.
        templates: prompt templates with `{}` where the class name goes.
        spelling: whether underscores in class names become spaces.
        features: the features of the images, computed or stored elsewhere; they are asked for after the texts.

    Raises:
        ZeroshotError: a template or a text can't be used, no image could be read, or `encoder` or `features` raises it.
    """
    class_embeddings = embed_classes(encoder, class_names, templates, spelling)
    batches = encoder.feature_batches(images) if features is None else features
    ranking = Ranking.concatenate(
        rank(batches, class_embeddings, encoder.logit_scale, TOP, encoder.logit_bias), k=min(TOP, len(class_names))
    )
    if not len(ranking.places):
        raise ZeroshotError("there is no image to evaluate that can be read")
    scored = labels[ranking.places]
    metrics = measure(scored, ranking.ids, ranking.probabilities, len(class_names))
    return Evaluation(scored, ranking, metrics, len(class_names))
