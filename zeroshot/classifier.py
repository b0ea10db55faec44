"""A classifier of images among labels that change from call to call, its text features computed once a label set."""

import logging
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zeroshot.config.schema import Config, Prompt
from zeroshot.config.settings import PromptChoice, Settings, prompt_set
from zeroshot.config.validate import checked
from zeroshot.data.image_source import Source
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.checkpoint import Checkpoint
from zeroshot.scoring.prompts import fill_templates
from zeroshot.scoring.ranking import rank
from zeroshot.stages import predict
from zeroshot.stages.parts import build, embed, load_weights, progress, warn_of_untrained_words

if TYPE_CHECKING:
    from zeroshot.models.encoder import Encoder

KEPT = 8  # label sets whose text features are kept
LONG = 64  # images from which on a call shows how far it is

Images = Source | Iterable[Source]
Scores = list[dict[str, Any]]  # [{"score": float, "label": str}, …], best first

log = logging.getLogger(__name__)


class Classifier:
    """What `zeroshot.pipeline` makes.

    `wanted` is the plain config of its model, prompts and device; the rest is as for `zeroshot.pipeline`.
    """

    def __init__(
        self,
        wanted: Settings,
        candidate_labels: Sequence[str] | None = None,
        top_k: int | None = None,
        config_dir: str | Path | None = None,
    ) -> None:
        self._wanted, self._config_dir = wanted, config_dir
        self._config = checked(wanted)
        self._labels = None if candidate_labels is None else _labels(candidate_labels)
        self._top_k = _top_k(top_k)
        self._encoder, self._known = loaded(self._config)
        self._embeddings: OrderedDict[tuple[object, ...], NDArray[np.float64]] = OrderedDict()

    def __call__(
        self,
        images: Images,
        candidate_labels: Sequence[str] | None = None,
        *,
        top_k: int | None = None,
        prompt: PromptChoice | None = None,
    ) -> list[Scores]:
        """A list an image of `{"score", "label"}`, best first.

        The scores are softmax(logit scale × cosine) over all the labels, so that they sum to 1 where `top_k` is None.

        Args:
            images: one image or several: PIL image, path, URL or uint8 array [H, W, 3]; also uint8 [N, H, W, 3].
            candidate_labels, top_k, prompt: instead of those that the pipeline was made with.

        Raises:
            ZeroshotError: there are no labels, or an image can't be read.
        """
        labels = self._labels if candidate_labels is None else _labels(candidate_labels)
        if labels is None:
            raise ZeroshotError("there are no labels: give candidate_labels=['cat', 'dog', …]")
        chosen = self._config.prompt if prompt is None else self._checked_prompt(prompt)
        count = (self._top_k if top_k is None else _top_k(top_k)) or len(labels)
        listed = as_list(images)
        embeddings = self._embedded(labels, chosen)
        encoder = self._encoder
        shown = progress(listed, self._config.model.name) if len(listed) >= LONG else listed
        # one image alone is not worth a whole batch; the size is compiled apart, once
        features = encoder.image_batches(encoder.whole(encoder.pixels(shown)), 1 if len(listed) == 1 else None)
        return [
            [{"score": score, "label": labels[place]} for place, score in zip(ids, scores, strict=True)]
            for ranking in rank(features, embeddings, encoder.logit_scale, count)
            for ids, scores in zip(ranking.ids.tolist(), ranking.probabilities.tolist(), strict=True)
        ]

    def _checked_prompt(self, prompt: PromptChoice) -> Prompt:
        return checked(self._wanted | {"prompt": prompt_set(prompt, self._config_dir)}).prompt

    def _embedded(self, labels: list[str], prompt: Prompt) -> NDArray[np.float64]:
        """One unit vector a label [labels, embed_dim], computed once for the same labels and templates."""
        key = (tuple(labels), tuple(prompt.templates), prompt.class_names)
        if key not in self._embeddings:
            texts = fill_templates(labels, prompt.templates, prompt.class_names.value)
            if predict.few_latin_letters(labels):
                log.warning(predict.FEW_LATIN)
            warn_of_untrained_words(self._config.model, self._known, texts)
            self._embeddings[key] = embed(self._encoder, texts, len(labels))
            if len(self._embeddings) > KEPT:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(key)
        return self._embeddings[key]


def loaded(config: Config) -> tuple["Encoder", Checkpoint]:
    """The encoder, and its checkpoint without the weights, which still says what words they know."""
    checkpoint, _ = load_weights(config.model)
    encoder, _ = build(config.model, config.device, checkpoint)
    return encoder, replace(checkpoint, tensors={})


def as_list(images: Images) -> list[Source]:
    """One image or several as a list."""
    if isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim != 4):
        return [images]
    return list(images)


def _labels(labels: Sequence[str]) -> list[str]:
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
        raise ZeroshotError(f"candidate_labels={labels!r} can't be used: give a list of texts such as ['cat', 'dog']")
    return predict.candidate_labels(labels, place="candidate_labels")


def _top_k(top_k: int | None) -> int | None:
    if top_k is not None and top_k < 1:
        raise ZeroshotError(f"top_k={top_k} can't be used: give 1 or more, or None for all labels")
    return top_k
