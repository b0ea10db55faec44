"""Any images and any labels: what is found, ranked and written."""

import csv
import glob
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zeroshot.config.paths import expand_path
from zeroshot.data.image_files import is_image
from zeroshot.data.image_source import is_url
from zeroshot.errors import ZeroshotError
from zeroshot.runs import folder as run_folder
from zeroshot.scoring.ranking import Ranking

TEXT = "run_record.txt"
LINES = "predictions.jsonl"
TABLE = "predictions.csv"
FEW_LATIN = "few of the labels' letters are Latin: OpenAI's CLIP reads English, so expect little of it here"
SHOWN = 20  # predictions that the terminal shows

Prediction = dict[str, Any]  # {"image", "scores": [{"label", "score"}, …]}, or {"image", "error"}


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


def find(wanted: Sequence[str]) -> list[str]:
    """The images that are meant by files, folders, globs and URLs, in that order.

    Of a folder it is all in it, at any depth, whose name ends as a picture's does, sorted; hidden ones are passed over.

    Raises:
        ZeroshotError: a folder or a glob holds no image or can't be read, or there is no image at all.
    """
    found: list[str] = []
    for place in wanted:
        before = len(found)
        found += _found(place)
        if len(found) == before:
            raise ZeroshotError(f"stage.images={place} holds no image: give a file, a folder or a glob that does")
    if not found:
        raise ZeroshotError("stage.images is empty: give a file, a folder, a glob, a URL or a list of them")
    return found


def _found(place: str) -> Iterator[str]:
    if is_url(place):
        yield place
        return
    path = expand_path(place)
    if path.is_dir():
        yield from _pictures(str(path), set())
    elif not os.path.lexists(path) and glob.has_magic(str(path)):
        yield from sorted(match for match in glob.iglob(str(path), recursive=True) if os.path.isfile(match))
    else:
        yield str(path)


def _pictures(folder: str, met: set[tuple[int, int]]) -> Iterator[str]:
    """The pictures in a folder and those below it, sorted by path; a folder is entered once, whatever leads to it."""
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            names = sorted(each.name + "/" * each.is_dir() for each in entries if not each.name.startswith("."))
    except OSError as error:
        raise ZeroshotError(
            f"stage.images: {folder} can't be read ({error.strerror}): change its permissions"
        ) from error
    if (status.st_dev, status.st_ino) in met:
        return
    met.add((status.st_dev, status.st_ino))
    for name in names:
        path = os.path.join(folder, name)
        if name.endswith("/"):
            yield from _pictures(path.rstrip("/"), met)
        elif is_image(name) and os.path.isfile(path):
            yield path


def ranked(
    images: Sequence[str], labels: Sequence[str], rankings: Iterable[Ranking], errors: dict[int, str]
) -> Iterator[Prediction]:
    """One prediction an image, in order, as they are made.

    `rankings` are those of the images that can be read, a batch at a time; by the time that one comes, `errors` says of
    every image before why it can't be read.
    """
    rows = (row for each in rankings for row in zip(each.ids.tolist(), each.probabilities.tolist(), strict=True))
    row = next(rows, None)
    for place, image in enumerate(images):
        if place in errors:
            yield {"image": image, "error": errors[place]}
        elif row is not None:
            yield _scored(image, labels, *row)
            row = next(rows, None)


def _scored(image: str, labels: Sequence[str], ids: Sequence[int], scores: Sequence[float]) -> Prediction:
    best = [{"label": labels[place], "score": round(score, 6)} for place, score in zip(ids, scores, strict=True)]
    return {"image": image, "scores": best}


@dataclass
class Summary:
    """What was written: how many predictions, how many of them errors, and the first ones."""

    size: int = 0
    errors: int = 0
    first: list[Prediction] = field(default_factory=list)

    def __str__(self) -> str:
        """What the terminal shows: the first images with their scores."""
        more = f"\n… and {self.size - len(self.first)} more" if self.size > len(self.first) else ""
        text = "\n".join(paragraph(each) for each in self.first) + more
        return text.encode(errors="backslashreplace").decode()  # a file's name need not be text


def write(folder: Path, made: Iterable[Prediction]) -> Summary:
    """Writes `run_record.txt` for people, and `predictions.jsonl` and `predictions.csv` for programs, as they come."""
    summary = Summary()
    with ExitStack() as stack:
        # a file's name need not be text
        files = (run_folder.whole(folder / name, errors="backslashreplace") for name in (TEXT, LINES, TABLE))
        text, lines, table = map(stack.enter_context, files)
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("image", "label", "score", "error"))
        for each in made:
            summary.size += 1
            summary.errors += "error" in each
            if len(summary.first) < SHOWN:
                summary.first.append(each)
            text.write(paragraph(each) + "\n")
            lines.write(json.dumps(each, ensure_ascii=False) + "\n")
            if "error" in each:
                rows.writerow((each["image"], "", "", each["error"]))
            else:
                best = each["scores"][0]
                rows.writerow((each["image"], best["label"], f"{best['score']:.6f}", ""))
    return summary


def paragraph(each: Prediction) -> str:
    """A prediction for people: the image's name, and its labels with their scores in percent below."""
    if "error" in each:
        return f"{each['image']}\n  error: {each['error']}"
    return "\n".join([each["image"], *(f"  {score['score']:8.2%}  {score['label']}" for score in each["scores"])])
