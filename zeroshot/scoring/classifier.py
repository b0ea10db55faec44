"""A classifier of images among candidate labels that may change from call to call."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.image_source import KINDS, Source, is_one_image
from zeroshot.errors import ZeroshotError
from zeroshot.models.feature_batch import FeatureBatch
from zeroshot.scoring.class_embeddings import embed_classes
from zeroshot.scoring.prompts import Spelling
from zeroshot.scoring.ranking import rank

if TYPE_CHECKING:
    from zeroshot.devices.pool import EncoderPool
    from zeroshot.models.encoder import Encoder

LABEL_SETS = 8  # whose class embeddings are kept
PROGRESS_FROM = 64  # images

Images = Source | Iterable[Source]
Scores = list[dict[str, Any]]  # [{"score": float, "label": str}, …], best first


class Templates(NamedTuple):
    """Prompt templates, and whether underscores in labels become spaces."""

    templates: tuple[str, ...]
    spelling: Spelling


class Classifier:
    """Ranks candidate labels for images; class embeddings are computed once for each set of labels and templates.

    Safe to call from several threads, which then take turns.

    Args:
        encoder: encodes images and texts.
        check_texts: is called with labels and templates before a new label set is encoded.
        progress: passes on the images of a long call.
    """

    def __init__(
        self,
        encoder: "Encoder | EncoderPool",
        check_texts: Callable[[Sequence[str], Templates], None],
        progress: Callable[[Sequence[Any]], Iterable[Any]],
    ) -> None:
        self.encoder = encoder
        self._check_texts, self._progress = check_texts, progress
        self._embeddings: OrderedDict[tuple[object, ...], NDArray[np.float64]] = OrderedDict()
        self._guard = threading.Lock()

    def classify(
        self, images: Sequence[Source], labels: Sequence[str], templates: Templates, top_k: int
    ) -> list[Scores]:
        """A list an image of `{"score", "label"}`, best first; scores are those of `rank`.

        Raises:
            ZeroshotError: an image can't be read, or a text is too long.
        """
        embeddings = self._embed(labels, templates)
        encoder = self.encoder
        shown = self._progress(images) if len(images) >= PROGRESS_FROM else images
        # an image alone is not worth a whole batch; that shape is compiled separately, once
        batches = encoder.feature_batches(shown, batch_size=1 if len(images) == 1 else None)
        with closing(raise_errors(batches)) as readable:
            return [
                [{"score": score, "label": labels[id]} for id, score in zip(ids, scores, strict=True)]
                for ranking in rank(readable, embeddings, encoder.logit_scale, top_k, encoder.logit_bias)
                for ids, scores in zip(ranking.ids.tolist(), ranking.probabilities.tolist(), strict=True)
            ]

    def _embed(self, labels: Sequence[str], templates: Templates) -> NDArray[np.float64]:
        key = (tuple(labels), templates)
        with self._guard:
            if key not in self._embeddings:
                self._check_texts(labels, templates)
                self._embeddings[key] = embed_classes(self.encoder, labels, *templates)
                if len(self._embeddings) > LABEL_SETS:
                    self._embeddings.popitem(last=False)
            self._embeddings.move_to_end(key)
            return self._embeddings[key]


def raise_errors(batches: Iterator[FeatureBatch]) -> Generator[FeatureBatch, None, None]:
    """The batches, until an image could not be read, whose error is raised."""
    try:
        for batch in batches:
            for error in batch.errors.values():
                raise error
            yield batch
    finally:
        batches.close()  # type: ignore[attr-defined]


def as_list(images: Images) -> list[Source]:
    """One image or several as a list."""
    if is_one_image(images):
        return [cast("Source", images)]
    if isinstance(images, dict | set | frozenset) or not isinstance(images, Iterable):
        raise ZeroshotError(f"images can't be of type {type(images).__name__}: give {KINDS}, or a list of them")
    return list(cast("Iterable[Source]", images))
