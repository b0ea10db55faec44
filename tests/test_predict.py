"""Any images and any labels, through the functions and through the command line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command
from zeroshot.classify import Ranking
from zeroshot.errors import ZeroshotError
from zeroshot.predict import candidate_labels, few_latin_letters, find, predictions, write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five good images in two folders, a text file among them, and two bad ones."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    drawn = np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), np.uint8)
    for place, pixels in enumerate(drawn):
        Image.fromarray(pixels).save(folder / ("more" if place > 2 else ".") / f"{place}.png")
    (folder / "bad.png").write_text("no image")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("not asked for")
    return folder


def test_folders_are_searched_in_order_and_files_are_taken_as_they_are(photos: Path) -> None:
    names = [Path(path).name for path in find([str(photos), str(photos / "notes.txt")])]
    assert names == ["0.png", "1.png", "2.png", "bad.png", "cut.png", "3.png", "4.png", "notes.txt"]
    assert [Path(path).name for path in find([str(photos / "?.png")])] == ["0.png", "1.png", "2.png"]
    assert [Path(path).name for path in find([str(photos / "**" / "[34].png")])] == ["3.png", "4.png"]


def test_a_file_whose_name_has_glob_signs_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1].png"
    path.touch()
    assert find([str(path)]) == [str(path)]


def test_a_folder_or_a_glob_without_images_is_told(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "*.png"):
        with pytest.raises(ZeroshotError, match="holds no image"):
            find([str(place)])


def test_labels_come_from_a_file_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\ufeffcat\n\n  向日葵 \nbird's nest, empty\n1e3\n", encoding="utf-8")
    assert candidate_labels(None, file) == ["cat", "向日葵", "bird's nest, empty", "1e3"]


@pytest.mark.parametrize(
    ("labels", "told"),
    [([], "holds no label"), (["cat", " "], "empty label"), (["cat", "dog", "cat"], "«cat» more than once")],
)
def test_labels_that_make_no_sense_are_refused(labels: list[str], told: str) -> None:
    with pytest.raises(ZeroshotError, match=told):
        candidate_labels(labels, None)


def test_a_labels_file_that_is_no_text_is_told(tmp_path: Path) -> None:
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


def test_every_image_has_one_line_whatever_its_name(tmp_path: Path) -> None:
    images = ["a,b.png", "ü\n.png", "c.png"]
    ranking = Ranking(np.array([[1, 0], [0, 1]]), np.array([[0.75, 0.25], [0.5, 0.5]]))
    made = predictions(images, ["cat", 'a "dog"'], ranking, {1: "ü.png: cut short"})
    write(tmp_path, made)
    lines = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == made
    assert made[1] == {"image": "ü\n.png", "error": "ü.png: cut short"}
    assert made[0]["scores"] == [{"label": 'a "dog"', "score": 0.75}, {"label": "cat", "score": 0.25}]
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["score"], row["error"]) for row in rows] == [
        ('a "dog"', "0.750000", ""),
        ("", "", "ü.png: cut short"),
        ("cat", "0.500000", ""),
    ]
    assert '75.00%  a "dog"' in (tmp_path / "results.txt").read_text(encoding="utf-8")


def test_bad_images_are_told_in_their_lines_and_the_rest_go_on(small: Command, tmp_path: Path, photos: Path) -> None:
    done = small(
        "model=small",
        "stage=predict",
        f"stage.images={photos}",
        "stage.labels=[cat,dog,'bird nest']",
        "stage.top_k=2",
        "hydra.run.dir=out",
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["2 of 7 images could not be read; each one's line says why"]
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [Path(line["image"]).name for line in lines] == [
        "0.png",
        "1.png",
        "2.png",
        "bad.png",
        "cut.png",
        "3.png",
        "4.png",
    ]
    assert [("scores" in line) for line in lines] == [True, True, True, False, False, True, True]
    for line in lines:
        if "scores" in line:
            assert len(line["scores"]) == 2
            assert line["scores"][0]["score"] >= line["scores"][1]["score"]
            assert {score["label"] for score in line["scores"]} <= {"cat", "dog", "bird nest"}
        else:
            assert Path(line["image"]).name in line["error"]
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"results.txt", "predictions.csv", "zeroshot.log"}


def test_labels_that_are_not_texts_are_refused_before_anything_is_loaded(small: Command, photos: Path) -> None:
    done = small("model=small", "stage=predict", f"stage.images={photos}", "stage.labels=[cat,1e3]")
    assert done.returncode == 1
    assert done.stderr.strip() == "stage.labels=1000.0 can't be used: it is not a text: quote it"


def test_labels_in_another_script_are_scored_with_a_warning(small: Command, photos: Path) -> None:
    done = small("model=small", "stage=predict", f"stage.images={photos}/0.png", 'stage.labels=["向日葵","${x}"]')
    assert done.returncode == 0
    assert "OpenAI's CLIP reads English" in done.stderr
    assert "向日葵" in done.stdout
    assert "${x}" in done.stdout
