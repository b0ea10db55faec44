"""The content of an evaluation's page, from the files of the run."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.image_set import Picture
from zeroshot.report.intervals import Interval, calibration_error, mean_of_shares, wilson
from zeroshot.report.pictures import Thumbnail, of_set
from zeroshot.runs.record import Record
from zeroshot.scoring.metrics import BINS, calibration_bins
from zeroshot.scoring.prompts import fill_templates

PAIRS = 12  # confusions that are shown
EXAMPLES = 4  # images of each
MISTAKES = 24  # confident ones that are shown

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """What `predictions.csv` and `confusion.csv` hold: class ids and scores by image [N], counts [classes, classes]."""

    classes: tuple[str, ...]
    indices: tuple[str, ...]
    labels: Ints
    predictions: Ints
    scores: NDArray[np.float64]
    counts: Ints
    paths: tuple[str, ...]

    @property
    def correct(self) -> NDArray[np.bool_]:
        correct: NDArray[np.bool_] = self.labels == self.predictions
        return correct


@dataclass(frozen=True)
class ClassRow:
    """A class in the table: its images, the correct ones, recall with its interval, how often it was predicted, and the
    class that was predicted instead most often."""

    name: str
    images: int
    correct: int
    recall: float | None
    interval: Interval | None
    predicted: int
    precision: float | None
    taken_for: str | None
    taken: int


@dataclass(frozen=True)
class Example:
    """One image that was predicted as another class."""

    index: str
    path: str
    label: str
    prediction: str
    score: float
    thumbnail: Thumbnail | None


@dataclass(frozen=True)
class Pair:
    """A label, the class that was predicted instead, how often, of how many images, and examples."""

    label: str
    prediction: str
    count: int
    images: int
    examples: list[Example]


@dataclass(frozen=True)
class Bin:
    """Images whose prediction has a probability in (lower, upper]."""

    lower: float
    upper: float
    images: int
    confidence: float
    accuracy: float


def read(folder: Path) -> Outcome:
    """The results in a run's folder; classes go by their ids."""
    with (folder / "confusion.csv").open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        classes = tuple(next(lines)[1:])
        counts = np.array([[int(cell) for cell in line[1:]] for line in lines], np.int64)
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        read_rows = csv.DictReader(file)
        rows = [
            (row["index"], int(row["label_id"]), int(row["prediction_id"]), row["score"], row["path"])
            for row in read_rows
        ]
    return Outcome(
        classes,
        tuple(row[0] for row in rows),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.float64),
        counts,
        tuple(row[4] for row in rows),
    )


def intervals(outcome: Outcome, record: Record) -> dict[str, Interval]:
    """The 95 % interval of each metric of the record that has a figure."""
    metrics, size = record["metrics"], len(outcome.labels)
    found = {
        "top1": wilson(metrics["correct"], size),
        "mean_per_class_recall": mean_of_shares(outcome.counts.diagonal(), outcome.counts.sum(axis=1)),
        "ece": calibration_error(outcome.correct, outcome.scores, metrics["ece"]),
    }
    if metrics["top5"] is not None:
        found["top5"] = wilson(round(metrics["top5"] * size), size)
    return found


def groups(record: Record) -> dict[str, dict[str, Any]]:
    """All images and then each group of the record: size, correct, top1 and its interval; empty without groups."""
    if not record.get("groups"):
        return {}
    whole = {"size": record["dataset"]["size"], **record["metrics"]}
    listed = {"all": whole, **record["groups"]}
    return {name: {**each, "interval": wilson(each["correct"], each["size"])} for name, each in listed.items()}


def class_rows(outcome: Outcome) -> list[ClassRow]:
    """A row a class, in the order of the classes."""
    found = []
    predicted = outcome.counts.sum(axis=0).tolist()
    for i, (name, line) in enumerate(zip(outcome.classes, outcome.counts, strict=True)):
        images, correct = int(line.sum()), int(line[i])
        others = line.copy()
        others[i] = 0
        worst = int(others.argmax())
        found.append(
            ClassRow(
                name=name,
                images=images,
                correct=correct,
                recall=correct / images if images else None,
                interval=wilson(correct, images) if images else None,
                predicted=predicted[i],
                precision=correct / predicted[i] if predicted[i] else None,
                taken_for=outcome.classes[worst] if others[worst] else None,
                taken=int(others[worst]),
            )
        )
    return found


def pairs(outcome: Outcome, images: Sequence[Picture] | None) -> list[Pair]:
    """The most frequent confusions, each with its most confident examples."""
    wrong = outcome.counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    found = []
    for label, prediction in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if not wrong[label, prediction]:
            break
        places = np.flatnonzero((outcome.labels == label) & (outcome.predictions == prediction))
        best = places[np.argsort(-outcome.scores[places], kind="stable")][:EXAMPLES]
        found.append(
            Pair(
                outcome.classes[label],
                outcome.classes[prediction],
                int(wrong[label, prediction]),
                int(outcome.counts[label].sum()),
                [example(outcome, int(place), images) for place in best],
            )
        )
    return found


def mistakes(outcome: Outcome, images: Sequence[Picture] | None) -> list[Example]:
    """The wrong predictions with the highest probabilities, highest first."""
    wrong = np.flatnonzero(~outcome.correct)
    worst = wrong[np.argsort(-outcome.scores[wrong], kind="stable")][:MISTAKES]
    return [example(outcome, int(place), images) for place in worst]


def example(outcome: Outcome, place: int, images: Sequence[Picture] | None) -> Example:
    """The image at a place of the outcome."""
    return Example(
        outcome.indices[place],
        outcome.paths[place],
        outcome.classes[outcome.labels[place]],
        outcome.classes[outcome.predictions[place]],
        float(outcome.scores[place]),
        of_set(images, place),
    )


def bins(outcome: Outcome) -> list[Bin]:
    """The bins of the calibration error, those without an image too."""
    places = calibration_bins(outcome.scores)
    images = np.bincount(places, minlength=BINS)
    divisor = np.maximum(images, 1)
    confidence = np.bincount(places, weights=outcome.scores, minlength=BINS) / divisor
    accuracy = np.bincount(places, weights=outcome.correct.astype(float), minlength=BINS) / divisor
    return [
        Bin(i / BINS, (i + 1) / BINS, int(images[i]), float(confidence[i]), float(accuracy[i])) for i in range(BINS)
    ]


def sparse(outcome: Outcome) -> dict[str, Any]:
    """The confusion matrix for the page's script: names, images per label, and row, column, count, row, column, …"""
    rows, columns = np.nonzero(outcome.counts)
    cells = np.stack([rows, columns, outcome.counts[rows, columns]], axis=1)
    return {
        "classes": list(outcome.classes),
        "images": outcome.counts.sum(axis=1).tolist(),
        "cells": cells.ravel().tolist(),
    }


def prompts(record: Record, classes: Sequence[str]) -> list[tuple[str, str]]:
    """Each template, and its text for the first class."""
    prompt = record["prompt"]
    templates = list(prompt["templates"])
    return list(zip(templates, fill_templates(classes[:1], templates, prompt["class_names"]), strict=True))
