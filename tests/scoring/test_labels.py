"""Candidate labels from a list or a file."""

from pathlib import Path

import pytest

from zeroshot.errors import ZeroshotError
from zeroshot.scoring.labels import candidate_labels, few_latin_letters


def test_labels_come_from_a_file_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\ufeffcat\n\n  向日葵 \nbird's nest, empty\n1e3\n", encoding="utf-8")
    assert candidate_labels(None, file) == ["cat", "向日葵", "bird's nest, empty", "1e3"]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([], "holds no label"), (["cat", " "], "empty label"), (["cat", "dog", "cat"], "«cat» more than once")],
)
def test_empty_and_repeated_labels_are_refused(labels: list[str], expected: str) -> None:
    with pytest.raises(ZeroshotError, match=expected):
        candidate_labels(labels, None)


def test_a_labels_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    for content in (None, b"\xff\xfe\x00\xd8"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ZeroshotError, match=r"stage\.labels_file=.*labels\.txt can't be read"):
            candidate_labels(None, file)


@pytest.mark.parametrize(
    ("labels", "few"),
    [
        (["cat"], False),
        (["猫", "dog"], False),
        (["向日葵", "狗"], True),
        (["été"], False),
        (["кот"], True),
        (["123"], False),
    ],
)
def test_labels_in_other_scripts_are_noticed(labels: list[str], few: bool) -> None:
    assert few_latin_letters(labels) is few
