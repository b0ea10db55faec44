"""Candidate labels: checked, from a list or a file."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from zeroshot.errors import ZeroshotError

FEW_LATIN = "few of the labels' letters are Latin: OpenAI's CLIP reads English, so expect little of it here"


def candidate_labels(labels: Sequence[str] | None, file: Path | None = None, place: str = "stage.labels") -> list[str]:
    """The labels given, or those of a text file, one a line.

    Raises:
        ZeroshotError: there are none, one is empty or one occurs twice, or the file can't be read.
    """
    if file is not None:
        place = str(file)
        try:
            labels = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ZeroshotError(f"stage.labels_file={file} can't be read as UTF-8 text ({error})") from error
    if not labels:
        raise ZeroshotError(f"{place} holds no label: give at least one")
    if any(not label.strip() for label in labels):
        raise ZeroshotError(f"{place} holds an empty label: remove it")
    label, times = Counter(labels).most_common(1)[0]
    if times > 1:
        raise ZeroshotError(f"{place} holds «{label}» more than once: give each label once")
    return list(labels)


def few_latin_letters(labels: Sequence[str]) -> bool:
    """Whether most letters of the labels are of other scripts than Latin, which OpenAI's CLIP hardly reads."""
    letters = [letter for label in labels for letter in label if letter.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    return bool(letters) and latin < len(letters) / 2
