"""`stage=predict`: ranks candidate labels for any images."""

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zeroshot import progress
from zeroshot.config.paths import PACKAGE, expand_path
from zeroshot.config.schema import Config, Predict
from zeroshot.data.find_images import find_images
from zeroshot.features.extract import ImageFeatures
from zeroshot.runs.prediction_files import Prediction, summary_text, write_prediction_files
from zeroshot.scoring import Ranking, embed_classes, rank
from zeroshot.scoring.classifier import Templates
from zeroshot.scoring.labels import parse_labels, read_labels
from zeroshot.scoring.prompts import Spelling, fill_templates
from zeroshot.stages.encoder import check_texts, describe_device, feature_store, load_model
from zeroshot.stages.evaluate import describe_prompt
from zeroshot.stages.result import StageResult, Stopwatch

log = logging.getLogger(__name__)


def run(config: Config) -> StageResult:
    """Ranks the labels for each image, logs the first predictions, and gives the record and the result files.

    An image that can't be read becomes a prediction with an error; the result then has an error too.

    Raises:
        ZeroshotError: labels, weights, device or prompts can't be used, or there is no image.
    """
    stopwatch = Stopwatch(time.perf_counter)
    stage, prompt = config.stage, describe_prompt(config.prompt)
    labels = _labels(stage, prompt["class_names"])
    images = find_images([str(expand_path(image)) if image.startswith(PACKAGE) else image for image in stage.images])
    templates = Templates(tuple(prompt["templates"]), prompt["class_names"])
    texts = fill_templates(labels, *templates)
    loaded = load_model(config.model, config.device)
    check_texts(loaded, labels, templates)

    stopwatch.lap("text")
    track_texts = partial(progress.track, description="texts of the labels", unit="block")
    embeddings = embed_classes(loaded.encoder, labels, *templates, track_texts)
    stopwatch.lap("image")
    errors: dict[int, str] = {}
    top_k = min(stage.top_k, len(labels))
    store = feature_store(config.model, loaded) if stage.cache else None
    features = ImageFeatures(loaded.encoder, store)
    batches = features.batches(images, errors, partial(progress.track, description=config.model.name))
    scale, bias = loaded.encoder.logit_scale, loaded.encoder.logit_bias
    ranking = Ranking.concatenate(rank(batches, embeddings, scale, top_k, bias), top_k)
    timing = stopwatch.timing(features.encoded, features.stored, len(set(texts)))

    if bias is not None:
        log.info("a score is the probability of its label by itself (sigmoid); model.score=softmax: among the labels")
    predictions = predictions_of(images, labels, ranking, errors)
    log.info("%s", summary_text(predictions))
    record: dict[str, Any] = {"model": loaded.model, "prompt": prompt, "device": describe_device(loaded)}
    record |= {"labels": len(labels), "images": len(images), "timing": timing}
    error = f"{len(errors)} of {len(images)} images could not be read; the line of each says why" if errors else None
    return StageResult(record, partial(_write, predictions), error=error)


def _labels(stage: Predict, spelling: Spelling) -> list[str]:
    if stage.labels_file is not None:
        return read_labels(expand_path(stage.labels_file), "stage.labels_file", spelling)
    return parse_labels(stage.labels, "stage.labels", spelling)


def predictions_of(
    images: Sequence[str], labels: Sequence[str], ranking: Ranking, errors: dict[int, str]
) -> list[Prediction]:
    """A prediction an image, in their order: its best labels with their probabilities, or why it could not be read."""
    found: list[Prediction] = [{"image": image, "error": errors.get(place)} for place, image in enumerate(images)]
    for place, ids, scores in zip(ranking.places, ranking.ids.tolist(), ranking.probabilities.tolist(), strict=True):
        found[place] = {
            "image": images[place],
            "scores": [{"label": labels[id], "score": round(score, 6)} for id, score in zip(ids, scores, strict=True)],
        }
    return found


def _write(predictions: Sequence[dict[str, Any]], folder: Path) -> None:
    write_prediction_files(folder, predictions)
