"""The result files of a prediction."""

import csv
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from zeroshot.runs.folder import PREDICTION_LINES, PREDICTION_TEXT, PREDICTIONS, whole_file

SHOWN = 20  # predictions that the terminal shows

Prediction = dict[str, Any]  # {"image", "scores": [{"label", "score"}, …]}, or {"image", "error"}


def summary_text(predictions: Sequence[Prediction]) -> str:
    """What the terminal shows: the first images with their scores."""
    more = f"\n… and {len(predictions) - SHOWN} more" if len(predictions) > SHOWN else ""
    text = "\n".join(paragraph(each) for each in predictions[:SHOWN]) + more
    return text.encode(errors="backslashreplace").decode()  # a file's name need not be text


def write_prediction_files(folder: Path, predictions: Iterable[Prediction]) -> None:
    """Writes `results.txt` for people, and `predictions.jsonl` and `predictions.csv` for programs, as they come."""
    with ExitStack() as stack:
        # a file's name need not be text
        files = (
            whole_file(folder / name, errors="backslashreplace")
            for name in (PREDICTION_TEXT, PREDICTION_LINES, PREDICTIONS)
        )
        text, lines, table = map(stack.enter_context, files)
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("image", "label", "score", "error"))
        for each in predictions:
            text.write(paragraph(each) + "\n")
            lines.write(json.dumps(each, ensure_ascii=False) + "\n")
            if "error" in each:
                rows.writerow((each["image"], "", "", each["error"]))
            else:
                best = each["scores"][0]
                rows.writerow((each["image"], best["label"], f"{best['score']:.6f}", ""))


def paragraph(each: Prediction) -> str:
    """A prediction for people: the image's name, and its labels with their scores in percent below."""
    if "error" in each:
        return f"{each['image']}\n  error: {each['error']}"
    return "\n".join([each["image"], *(f"  {score['score']:8.2%}  {score['label']}" for score in each["scores"])])
