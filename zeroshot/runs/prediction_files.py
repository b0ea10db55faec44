"""The result files of a prediction: `results.txt` for people, JSON lines and CSV for programs.

Names of images are escaped as in `zeroshot.data.file_names`, which can be reversed.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from zeroshot.data.file_names import escape
from zeroshot.runs.folder import PREDICTION_LINES, PREDICTION_TEXT, PREDICTIONS, whole_file

PRINTED = 20  # predictions on the terminal

Prediction = dict[str, Any]  # {"image", "scores": [{"label", "score"}, …]}, or {"image", "error"}


def summary_text(predictions: Sequence[Prediction]) -> str:
    """The first predictions for the terminal."""
    more = f"\n… and {len(predictions) - PRINTED} more" if len(predictions) > PRINTED else ""
    return "\n".join(paragraph(each) for each in predictions[:PRINTED]) + more


def write_prediction_files(folder: Path, predictions: Iterable[Prediction]) -> None:
    """Writes `results.txt` for people, and `predictions.jsonl` and `predictions.csv` for programs, as they come."""
    with ExitStack() as stack:
        files = (whole_file(folder / name) for name in (PREDICTION_TEXT, PREDICTION_LINES, PREDICTIONS))
        text, lines, table = map(stack.enter_context, files)
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("image", "label", "score", "error"))
        for each in predictions:
            name, error = escape(each["image"]), escape(each.get("error", ""))
            text.write(paragraph(each) + "\n")
            escaped = each | {"image": name} | ({"error": error} if error else {})
            lines.write(json.dumps(escaped, ensure_ascii=False) + "\n")
            best = each["scores"][0] if "scores" in each else {"label": "", "score": None}
            score = "" if best["score"] is None else f"{best['score']:.6f}"
            rows.writerow((name, best["label"], score, error))


def write_prediction_text(path: Path, predictions: Iterable[Prediction]) -> None:
    """Writes predictions for people alone."""
    with whole_file(path) as file:
        file.writelines(paragraph(each) + "\n" for each in predictions)


def paragraph(each: Prediction) -> str:
    """A prediction for people: the image's name, and its labels with their scores in percent below."""
    name = escape(str(each["image"]))
    if "error" in each:
        return f"{name}\n  error: {escape(each['error']).removeprefix(f'{name}: ')}"
    return "\n".join([name, *(f"  {score['score']:8.2%}  {score['label']}" for score in each["scores"])])
