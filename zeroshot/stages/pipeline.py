"""What `pipeline` returns: a model with its labels and prompts, called with images."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zeroshot import progress
from zeroshot.config.arguments import PromptChoice, prompt_config
from zeroshot.config.validate import checked
from zeroshot.errors import ZeroshotError
from zeroshot.scoring.classifier import Classifier, Images, Scores, Templates, as_list
from zeroshot.scoring.labels import parse_labels, parse_top_k
from zeroshot.stages.encoder import check_texts, load_new_model


class Pipeline:
    """What `pipeline` returns. Safe to call from several threads; pickled, it loads its model again.

    Args:
        config: the plain config of model, prompts and device.
        candidate_labels, top_k, config_dir: as for `pipeline`.
    """

    def __init__(
        self,
        config: dict[str, Any],
        candidate_labels: Sequence[str] | None = None,
        top_k: int | None = None,
        config_dir: str | Path | None = None,
    ) -> None:
        built = checked(config)
        self.prompt = Templates(tuple(built.prompt.templates), built.prompt.class_names.value)
        self._labels = None if candidate_labels is None else _labels(candidate_labels, self.prompt)
        self._top_k = parse_top_k(top_k)
        self._arguments = (config, self._labels, top_k, config_dir)
        loaded = load_new_model(built.model, built.device)
        track = partial(progress.track, description=built.model.name)
        self._classifier = Classifier(loaded.encoder, partial(check_texts, loaded), track)

    def __reduce__(self) -> tuple[type["Pipeline"], tuple[Any, ...]]:
        return Pipeline, self._arguments

    def __call__(
        self,
        images: Images,
        candidate_labels: Sequence[str] | None = None,
        *,
        top_k: int | None = None,
        prompt: PromptChoice | None = None,
    ) -> list[Scores]:
        """A list an image of `{"score", "label"}`, best first.

        The scores are softmax(logit scale × cosine) over all the labels, so that they sum to 1 where `top_k` is None;
        those of a SigLIP are a probability of each label for itself.

        Args:
            images: one image or several, each a PIL image, path, URL, bytes, open binary file, or array [H, W, 3] of
                uint8 or of floats from 0 to 1; also an array [N, H, W, 3].
            candidate_labels, top_k, prompt: instead of those that the pipeline was built with.

        Raises:
            ZeroshotError: there are no labels, or an image can't be read.
        """
        labels = self._labels if candidate_labels is None else candidate_labels
        if labels is None:
            raise ZeroshotError("there are no labels: give candidate_labels=['cat', 'dog', …]")
        templates = self.prompt if prompt is None else self._templates(prompt)
        if candidate_labels is not None or templates.spelling != self.prompt.spelling:
            labels = _labels(labels, templates)
        return self.classify(images, labels, templates, top_k)

    def classify(self, images: Images, labels: Sequence[str], templates: Templates, top_k: int | None) -> list[Scores]:
        """What a call returns, of labels that are checked already."""
        count = self._top_k if top_k is None else parse_top_k(top_k)
        return self._classifier.classify(as_list(images), labels, templates, count or len(labels))

    def _templates(self, prompt: PromptChoice) -> Templates:
        config, _, _, config_dir = self._arguments
        chosen = checked(config | {"prompt": prompt_config(prompt, config_dir)}).prompt
        return Templates(tuple(chosen.templates), chosen.class_names.value)


def _labels(given: Any, templates: Templates) -> list[str]:
    return parse_labels(given, "candidate_labels", templates.spelling)
