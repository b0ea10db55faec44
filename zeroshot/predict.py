"""Any images and any labels: what is found, ranked and written."""

import glob
import json
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from zeroshot import results
from zeroshot.classify import Ranking
from zeroshot.config import path_of
from zeroshot.errors import ZeroshotError

TEXT = "results.txt"
SHOWN = 20  # predictions that the terminal shows

Prediction = dict[str, Any]


def candidate_labels(labels: Sequence[str] | None, file: Path | None) -> list[str]:
    """The labels given, or those of a text file, one a line.

    Raises:
        ZeroshotError: there are none, one is empty or one occurs twice, or the file can't be read.
    """
    place = "stage.labels" if file is None else str(file)
    if file is not None:
        try:
            labels = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ZeroshotError(f"stage.labels_file={file} can't be read as UTF-8 text ({error})") from error
    if not labels:
        raise ZeroshotError(f"{place} holds no label: give at least one")
    if any(not label.strip() for label in labels):
        raise ZeroshotError(f"{place} holds an empty label: remove it")
    twice = sorted({label for label in labels if labels.count(label) > 1}) if len(set(labels)) < len(labels) else []
    if twice:
        raise ZeroshotError(f"{place} holds «{twice[0]}» more than once: give each label once")
    return list(labels)


def few_latin_letters(labels: Sequence[str]) -> bool:
    """Whether most letters of the labels are of other scripts than Latin, which OpenAI's CLIP hardly reads."""
    letters = [letter for label in labels for letter in label if letter.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    return bool(letters) and latin < len(letters) / 2


def find(wanted: Sequence[str]) -> list[str]:
    """The images that are meant by files, folders (all in them that Pillow opens, sorted) and globs, in that order.

    Raises:
        ZeroshotError: a folder or a glob holds no image, or there is none at all.
    """
    found: list[str] = []
    for place in wanted:
        path = path_of(place)
        if path.is_dir():
            inside = sorted(str(file) for file in path.rglob("*") if _looks_like_an_image(file))
        elif not path.exists() and glob.has_magic(str(path)):
            inside = sorted(match for match in glob.glob(str(path), recursive=True) if Path(match).is_file())
        else:
            inside = [str(path)]
        if not inside:
            raise ZeroshotError(f"stage.images={place} holds no image: give a file, a folder or a glob that does")
        found += inside
    if not found:
        raise ZeroshotError("stage.images is empty: give a file, a folder, a glob or a list of them")
    return found


def predictions(
    images: Sequence[str], labels: Sequence[str], ranking: Ranking, errors: Mapping[int, str]
) -> list[Prediction]:
    """One prediction an image, in order: `{"image", "scores": [{"label", "score"}, …]}`, or `{"image", "error"}`."""
    ranked = iter(zip(ranking.ids.tolist(), ranking.probabilities.tolist(), strict=True))
    made: list[Prediction] = []
    for place, image in enumerate(images):
        if place in errors:
            made.append({"image": image, "error": errors[place]})
            continue
        ids, scores = next(ranked)
        made.append(
            {
                "image": image,
                "scores": [{"label": labels[i], "score": round(s, 6)} for i, s in zip(ids, scores, strict=True)],
            }
        )
    return made


def write(folder: Path, made: Sequence[Prediction]) -> None:
    """Writes `results.txt` for people, and `predictions.jsonl` and `predictions.csv` for programs."""
    results.write(folder / TEXT, "\n".join(_paragraph(each) for each in made) + "\n")
    lines = (json.dumps(each, ensure_ascii=False) + "\n" for each in made)
    results.write(folder / "predictions.jsonl", "".join(lines))
    results.write_csv(
        folder / "predictions.csv",
        ("image", "label", "score", "error"),
        (
            (each["image"], "", "", each["error"])
            if "error" in each
            else (each["image"], each["scores"][0]["label"], f"{each['scores'][0]['score']:.6f}", "")
            for each in made
        ),
    )


def told(made: Sequence[Prediction]) -> str:
    """What the terminal shows: the first images with their scores."""
    more = f"\n… and {len(made) - SHOWN} more" if len(made) > SHOWN else ""
    return "\n".join(_paragraph(each) for each in made[:SHOWN]) + more


def _paragraph(each: Prediction) -> str:
    if "error" in each:
        return f"{each['image']}\n  error: {each['error']}"
    return "\n".join([each["image"], *(f"  {score['score']:8.2%}  {score['label']}" for score in each["scores"])])


def _looks_like_an_image(path: Path) -> bool:
    return path.suffix.lower() in Image.registered_extensions() and path.is_file()
