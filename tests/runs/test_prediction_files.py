"""The result files of a prediction have one line an image, whatever its name."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeroshot.data.file_names import escape, unescape
from zeroshot.errors import ZeroshotError
from zeroshot.runs.prediction_files import PRINTED, Prediction, summary_text, write_prediction_files

PREDICTIONS: list[Prediction] = [
    {"image": "a,b.png", "scores": [{"label": 'a "dog"', "score": 0.75}, {"label": "cat", "score": 0.25}]},
    {"image": "ü\n.png", "error": "ü\n.png: cut short"},
    {"image": "c.png", "scores": [{"label": "cat", "score": 0.5}, {"label": 'a "dog"', "score": 0.5}]},
    {"image": "\udcff.png", "error": "\udcff.png: does not exist"},
]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_has_one_line_and_its_name_can_be_recovered(tmp_path: Path) -> None:
    write_prediction_files(tmp_path, iter(PREDICTIONS))
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [unescape(line["image"]) for line in lines] == [each["image"] for each in PREDICTIONS]
    assert [unescape(row["image"]) for row in rows(tmp_path)] == [each["image"] for each in PREDICTIONS]
    assert [line.get("scores") for line in lines] == [each.get("scores") for each in PREDICTIONS]
    assert [(row["label"], row["score"], row["error"]) for row in rows(tmp_path)] == [
        ('a "dog"', "0.750000", ""),
        ("", "", "ü\\n.png: cut short"),
        ("cat", "0.500000", ""),
        ("", "", "\\udcff.png: does not exist"),
    ]
    text = (tmp_path / "results.txt").read_text(encoding="utf-8")
    assert '75.00%  a "dog"' in text
    assert summary_text(PREDICTIONS) + "\n" == text


def test_a_failure_while_writing_leaves_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[Prediction]:
        yield PREDICTIONS[0]
        raise ZeroshotError("the disk is full")

    with pytest.raises(ZeroshotError):
        write_prediction_files(tmp_path, failing())
    assert not list(tmp_path.iterdir())


def test_the_terminal_has_the_first_images_and_the_number_of_the_rest() -> None:
    text = summary_text([{"image": f"{n}.png", "error": "none"} for n in range(PRINTED + 5)])
    assert text.endswith("\n… and 5 more")
    assert text.count("error: none") == PRINTED


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_any_file_name_survives_escaping(name: str) -> None:
    escaped = escape(name)
    assert unescape(escaped) == name
    escaped.encode()  # there is no lone surrogate
    assert len(f"{escaped}\n".splitlines()) == 1
