"""Class names → class embeddings: the one path for evaluation and prediction."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from zeroshot.scoring.prompts import Spelling, fill_templates

TEXTS_PER_BLOCK = 4096  # texts whose features are held at once

Progress = Callable[[Collection[int]], Iterable[int]]


class TextEncoder(Protocol):
    """What class embeddings need of an encoder."""

    def encode_text_blocks(self, blocks: Iterable[Sequence[str]], /) -> Iterator[NDArray[np.float32]]:
        """Unit text features [N, embed_dim] of each block of texts, in order."""


def embed_classes(
    encoder: TextEncoder,
    class_names: Sequence[str],
    templates: Sequence[str],
    spelling: Spelling = "spaces",
    progress: Progress = iter,
) -> NDArray[np.float64]:
    """One unit vector a class [classes, embed_dim]: the mean of its texts' unit features, normalised again.

    The ensemble over the embedding space is that of Radford et al. 2021, section 3.1.4. Texts are encoded in blocks of
    whole classes; `progress` passes on the blocks' starts where there is more than one.

    Raises:
        ZeroshotError: a template has no `{}`, or a text is too long for the model.
    """
    texts = fill_templates(class_names, templates, spelling)
    step = max(1, TEXTS_PER_BLOCK // len(templates)) * len(templates)
    starts = range(0, len(texts), step)
    blocks = (texts[start : start + step] for start in (starts if len(starts) == 1 else progress(starts)))
    return np.concatenate(
        [mean_of_templates(features, len(templates)) for features in encoder.encode_text_blocks(blocks)]
    )


def mean_of_templates(text_features: NDArray[np.float32], templates: int) -> NDArray[np.float64]:
    """Unit text features [classes * templates, embed_dim], class by class → class embeddings [classes, embed_dim]."""
    means = text_features.astype(np.float64).reshape(-1, templates, text_features.shape[-1]).mean(axis=1)
    return means / np.linalg.norm(means, axis=1, keepdims=True)  # type: ignore[no-any-return]
