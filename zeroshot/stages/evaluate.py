"""`stage=eval`: scores a model on a data set."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zeroshot import progress
from zeroshot.config.named import prompt_templates
from zeroshot.config.paths import PACKAGE
from zeroshot.config.schema import Config, Prompt, Shapes, Unreadable
from zeroshot.data.file_names import escape
from zeroshot.data.image_set import ImageSet
from zeroshot.errors import ZeroshotError
from zeroshot.features.extract import ImageFeatures
from zeroshot.models.feature_batch import FeatureBatch
from zeroshot.runs.evaluation_files import write_evaluation_files
from zeroshot.runs.record import Record, references
from zeroshot.scoring import Evaluation, Metrics, evaluate
from zeroshot.scoring.classifier import Templates
from zeroshot.scoring.labels import check_distinct
from zeroshot.scoring.prompts import fill_templates
from zeroshot.stages.dataset import class_groups, load_dataset
from zeroshot.stages.encoder import (
    check_texts,
    describe_device,
    feature_store,
    load_model,
)
from zeroshot.stages.result import StageResult, Stopwatch

UNREADABLE_NAMED = 20  # in an error
NEXT = "next, with OpenAI's weights: python -m zeroshot model=clip_vit_b_32 dataset=cifar100"

log = logging.getLogger(__name__)


def run(config: Config) -> StageResult:
    """Scores the data set, logs the metrics, and gives the record and the result files.

    Raises:
        ZeroshotError: data set, weights, device or prompts can't be used.
    """
    stopwatch = Stopwatch(time.perf_counter)
    data = load_dataset(config.dataset)
    images = data.limited(config.dataset.limit)
    prompt = describe_prompt(config.prompt)
    texts = fill_templates(data.classes, prompt["templates"], prompt["class_names"])
    for line in check_distinct(data.classes, prompt["class_names"], data.name, data.known_duplicates):
        log.warning("%s: %s", data.name, line)
    loaded = load_model(config.model, config.device)
    check_texts(loaded, data.classes, Templates(tuple(prompt["templates"]), prompt["class_names"]), "class names")

    store = feature_store(config.model, loaded) if config.stage.cache else None
    errors: dict[int, str] = {}
    skip = getattr(config.dataset, "unreadable", None) is Unreadable.skip
    track = partial(progress.track, description=f"{config.model.name} on {config.dataset.name}")
    features = ImageFeatures(loaded.encoder, store, list_unreadable=not skip)
    batches = features.batches(images.images, errors, track)
    stopwatch.lap("text")
    evaluation = evaluate(
        loaded.encoder,
        images.images,
        images.labels,
        data.classes,
        prompt["templates"],
        prompt["class_names"],
        features=_checked(batches, {} if skip else errors, len(images), stopwatch),
    )
    timing = stopwatch.timing(features.encoded, features.stored, len(set(texts)))

    groups = {name: _group(evaluation, ids) for name, ids in class_groups(config.dataset, data).items()}
    dataset = {
        "name": data.name,
        "split": data.split,
        "labels": data.label_kind,
        "fingerprint": data.fingerprint,
        "size": len(evaluation.labels),
        "split_size": len(data) + len(data.skipped),
        "classes": len(data.classes),
    }
    skipped = [*data.skipped, *(errors[place] for place in sorted(errors))]
    if skipped:
        dataset["skipped"] = {"count": len(skipped), "files": [escape(each) for each in skipped]}
        log.warning("%d of the set's files can't be read and are left out; the record lists them", len(skipped))
    if data.class_sources is not None:
        dataset["classes_from"] = data.class_mapping
        dataset["class_mapping"] = [list(pair) for pair in zip(data.class_sources, data.classes, strict=True)]
    whole_test_split = data.split == "test" and len(evaluation.labels) == len(data) and not skipped
    published = (
        references(loaded.model, dataset, prompt, evaluation.metrics.top1, prompt_templates) if whole_test_split else []
    )
    for line in summary(len(evaluation.labels), evaluation.metrics, groups, published):
        log.info(line)
    record: dict[str, Any] = {
        "model": loaded.model,
        "dataset": dataset,
        "prompt": prompt,
        "device": describe_device(loaded),
    }
    record |= {"metrics": vars(evaluation.metrics)} | ({"groups": groups} if groups else {})
    record |= {"references": published, "timing": timing}
    scored = images.select(evaluation.ranking.places)  # those that can't be read have no row
    embedded = isinstance(config.dataset, Shapes) and config.model.weights.path is None
    hint = NEXT if embedded and config.model.weights.sources[0].url.startswith(PACKAGE) else None
    return StageResult(record, partial(_write, images, evaluation), scored.images, hint)


def describe_prompt(prompt: Prompt) -> dict[str, Any]:
    """What the record says of the prompts."""
    return {"name": prompt.name, "templates": list(prompt.templates), "class_names": prompt.class_names.value}


def summary(
    size: int, metrics: Metrics, groups: Mapping[str, Record], published: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The metrics for people, line by line: groups, top-1, the rest, published figures."""
    lines = []
    if groups:
        lines.append(f"{'':14}{'images':>7}{'correct':>9}{'top-1':>9}")
        for name, each in {"all": {"size": size, **vars(metrics)}, **groups}.items():
            lines.append(f"{name:14}{each['size']:>7}{each['correct']:>9}{each['top1']:>9.2%}")
    lines.append(f"Top1 Accuracy={metrics.top1:.2%}")
    top5 = "" if metrics.top5 is None else f"top-5 {metrics.top5:.2%}, "
    lines.append(
        f"{top5}mean per-class recall {metrics.mean_per_class_recall:.2%}, calibration error {metrics.ece:.2%}"
    )
    lines += [f"published {each['top1']:.2%} ({each['source']}): {each['delta']:+.2%}" for each in published]
    return lines


def _unreadable(errors: Mapping[int, str], size: int) -> str:
    listed = "; ".join(errors[place] for place in sorted(errors)[:UNREADABLE_NAMED])
    more = f"; and {len(errors) - UNREADABLE_NAMED} more" if len(errors) > UNREADABLE_NAMED else ""
    return f"{len(errors)} of {size} images can't be read: {listed}{more}: leave them out with dataset.unreadable=skip"


def _checked(
    batches: Iterable[FeatureBatch], errors: Mapping[int, str], size: int, stopwatch: Stopwatch
) -> Iterator[FeatureBatch]:
    """The batches, and then an error that lists the images that can't be read, if there are any."""
    stopwatch.lap("image")  # once the first batch is asked for, after the texts
    yield from batches
    if errors:
        raise ZeroshotError(_unreadable(errors, size))


def _group(evaluation: Evaluation, ids: Sequence[int]) -> Record:
    metrics = evaluation.of_classes(ids)
    if metrics is None:
        return {"size": 0, "top1": 0.0, "correct": 0}
    return {"size": int(np.isin(evaluation.labels, ids).sum()), **vars(metrics)}


def _write(images: ImageSet, evaluation: Evaluation, folder: Path) -> None:
    write_evaluation_files(folder, evaluation, images.classes, images.indices, images.paths())
