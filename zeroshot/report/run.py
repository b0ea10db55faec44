"""A run's page and figures: of an evaluation, a prediction, or a failed run."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zeroshot.data.image_set import Picture
from zeroshot.report import evaluation, prediction
from zeroshot.report.page import render
from zeroshot.runs import folder as run_folder
from zeroshot.runs import record as run_record
from zeroshot.runs.folder import FIGURES
from zeroshot.runs.record import Record


def draw(page: Path, images: Sequence[Picture] | None) -> None:
    """Writes the page and the figures of the run in the page's folder."""
    folder = page.parent
    record = run_record.read_record(folder)
    if record is None:
        raise FileNotFoundError(f"{folder / run_folder.RECORD} is not there or not whole")
    context = about(record, folder)
    if "metrics" in record:
        context |= _evaluated(folder, record, images)
        template = "evaluation.html"
    elif (folder / "predictions.jsonl").is_file():
        context |= _predicted(folder)
        template = "prediction.html"
    else:
        template = "failed.html"
    run_folder.write_text(page, render(template, context))


def about(record: Record, folder: Path) -> dict[str, Any]:
    """The content that every run's page has."""
    config = record["config"]
    named = {group: _name(config, group) for group in ("model", "dataset", "prompt")}
    return {
        **named,
        "record": record,
        "error": record.get("error"),
        "folder": folder.name,
        "command": command(record),
        "code": record.get("python"),
        "config": json.dumps(config, indent=2, ensure_ascii=False),
    }


def command(record: Record) -> str:
    """The command line that repeats a run, as a shell takes it."""
    arguments = record["command"] if "command" in record else record["overrides"]
    return shlex.join(["python", "-m", "zeroshot", *arguments])


def _evaluated(folder: Path, record: Record, images: Sequence[Picture] | None) -> dict[str, Any]:
    from zeroshot.report import figures

    outcome = evaluation.read(folder)
    rows = evaluation.class_rows(outcome)
    bins = evaluation.bins(outcome)
    drawings = {
        "reliability": figures.reliability(
            [each.confidence for each in bins], [each.accuracy for each in bins], [each.images for each in bins]
        ),
        "per_class": figures.recalls(
            np.array([row.recall for row in rows if row.recall is not None]),
            record["metrics"]["mean_per_class_recall"],
        ),
    }
    (folder / FIGURES).mkdir(exist_ok=True)
    for name, drawing in (drawings | {"confusion": figures.matrix(outcome.counts, outcome.classes)}).items():
        figures.png(drawing, folder / FIGURES / f"{name}.png")
    return {
        "intervals": evaluation.intervals(outcome, record),
        "groups": evaluation.groups(record),
        "class_rows": rows,
        "pairs": evaluation.pairs(outcome, images),
        "mistakes": evaluation.mistakes(outcome, images),
        "wrong": int((~outcome.correct).sum()),
        "bins": bins,
        "matrix": evaluation.sparse(outcome),
        "prompts": evaluation.prompts(record, outcome.classes),
        "reliability": figures.svg(drawings["reliability"], "Reliability diagram: accuracy by confidence"),
        "recalls": figures.svg(drawings["per_class"], "Recall of every class, best first"),
    }


def _predicted(folder: Path) -> dict[str, Any]:
    predictions = prediction.read(folder)
    return {
        "cards": prediction.cards(predictions),
        "images": len(predictions),
        "failed": sum("error" in each for each in predictions),
    }


def _name(config: Mapping[str, Any], group: str) -> str:
    part = config.get(group)
    return str(part.get("name")) if isinstance(part, dict) else "–"
