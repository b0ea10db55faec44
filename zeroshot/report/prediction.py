"""The content of a prediction's page, from the files of the run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeroshot.data.file_names import escape, unescape
from zeroshot.report.pictures import Thumbnail, of_file

SHOWN = 120  # images with a picture
LISTED = 500  # and without one


@dataclass(frozen=True)
class Card:
    """An image: its file's name, its path, its best labels with their scores, or why it could not be read."""

    name: str
    path: str
    scores: list[tuple[str, float]]
    error: str | None
    thumbnail: Thumbnail | None


def read(folder: Path) -> list[dict[str, Any]]:
    """The predictions, in the order of the images."""
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def cards(predictions: list[dict[str, Any]]) -> list[Card]:
    """The first images, with pictures, those that could not be read first."""
    failed = [each for each in predictions if "error" in each]
    rest = [each for each in predictions if "error" not in each]
    return [_card(each, i < SHOWN) for i, each in enumerate((failed[:SHOWN] + rest)[:LISTED])]


def _card(each: dict[str, Any], with_picture: bool) -> Card:
    path = unescape(str(each["image"]))
    return Card(
        name=escape(path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]),
        path=escape(path),
        scores=[(score["label"], score["score"]) for score in each.get("scores", [])],
        error=each.get("error"),
        thumbnail=of_file(path) if with_picture and "error" not in each else None,
    )
