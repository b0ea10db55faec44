"""Predictions for any images and labels, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Command


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


def test_unreadable_images_are_lines_with_errors_and_the_rest_are_scored(
    small: Command, tmp_path: Path, photos: Path
) -> None:
    done = small(
        "model=small",
        "stage=predict",
        f"stage.images={photos}",
        "stage.labels=[cat,dog,'bird nest']",
        "stage.top_k=2",
        "hydra.run.dir=out",
    )
    assert done.returncode == 1
    skipped, failed = done.stderr.splitlines()
    assert skipped == f"1 skipped: {photos / 'notes.txt'}: not an image format that is read"
    assert failed == "2 of 7 images could not be read; the line of each says why"
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


def test_labels_that_are_not_text_are_refused_before_anything_is_loaded(small: Command, photos: Path) -> None:
    done = small("model=small", "stage=predict", f"stage.images={photos}", "stage.labels=[cat,1e3]")
    assert done.returncode == 1
    assert done.stderr.strip() == "stage.labels=1000.0 can't be used: it is not text: quote it"


def test_labels_in_another_script_are_scored_with_a_warning(small: Command, photos: Path) -> None:
    done = small("model=small", "stage=predict", f"stage.images={photos}/0.png", 'stage.labels=["向日葵","${x}"]')
    assert done.returncode == 0
    assert "few letters of the labels are Latin, and small reads English" in done.stderr
    assert "向日葵" in done.stdout
    assert "${x}" in done.stdout


def test_a_folder_of_200_good_and_bad_images_has_a_line_each(small: Command, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    drawn = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    for place in range(195):
        path = folder / f"{place:03}.png"
        if place % 13 == 5:
            path.write_text("no picture at all")
        else:
            Image.fromarray(np.roll(drawn, place)).save(path)
            if place % 13 == 7:
                path.write_bytes(path.read_bytes()[:500])
    Image.new("RGB", (1, 1)).save(folder / "1 × 1.png")
    Image.new("L", (30_000, 3_000)).save(folder / "panorama.png")  # Pillow warns from 89 million pixels on
    frames = [Image.fromarray(np.roll(drawn, place)) for place in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "first.webp", lossless=True)
    (folder / "empty.jpg").touch()
    bad = {f"{place:03}.png" for place in range(195) if place % 13 in (5, 7)} | {"empty.jpg"}

    done = small(
        "model=small", "stage=predict", f"stage.images={folder}", "stage.labels=[cat,dog]", "hydra.run.dir=out"
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"{len(bad)} of 200 images could not be read; the line of each says why"]
    assert done.stdout.count("\n  error: ") + done.stdout.count("%  ") // 2 == 20
    assert "… and 180 more" in done.stdout
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert [line["image"] for line in lines] == sorted(str(path) for path in folder.iterdir())
    assert {Path(line["image"]).name for line in lines if "error" in line} == bad
    assert all(line["image"] in line["error"] for line in lines if "error" in line)
    left = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert left["images"] == 200
    assert left["timing"]["images_encoded"] == 200 - len(bad)
    assert "could not be read" in left["error"]


def test_images_behind_urls_are_predicted_beside_files(
    small: Command, tmp_path: Path, photos: Path, server: str
) -> None:
    urls = [f"{server}/{name}" for name in ("good?a=1&b=2", "missing", "redirect?file:///etc/passwd", "page")]
    wanted = ",".join(f'"{place}"' for place in [urls[0], photos / "0.png", *urls[1:]])
    done = small("model=small", "stage=predict", f"stage.images=[{wanted}]", "stage.labels=[a,b]", "hydra.run.dir=out")
    assert done.returncode == 1
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert [line["image"] for line in lines] == [urls[0], str(photos / "0.png"), *urls[1:]]
    assert [("scores" in line) for line in lines] == [True, True, False, False, False]
    assert done.stderr.splitlines() == ["3 of 5 images could not be read; the line of each says why"]


def test_labels_with_special_characters_are_kept(small: Command, tmp_path: Path, photos: Path) -> None:
    labels = ["向日葵", "bird's nest", "a, b", "1e3", "true", "0.10", "été", "{}", "a_b"]
    typed = ",".join(json.dumps(label, ensure_ascii=False) for label in labels)
    done = small(
        *("model=small", "stage=predict", f"stage.images={photos}/0.png", f"stage.labels=[{typed}]"),
        *("stage.top_k=99", "hydra.run.dir=out"),
    )
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "out" / "predictions.jsonl").read_text("utf-8"))
    assert {score["label"] for score in made["scores"]} == set(labels)
    assert all(f"%  {label}\n" in done.stdout for label in labels)


def test_a_users_prompt_set_is_a_yaml_file(small: Command, tmp_path: Path, config_dir: Path, photos: Path) -> None:
    own = tmp_path / "own"
    for group, name in (("model", "small"), ("prompt", "mine")):
        (own / group).mkdir(parents=True)
        text = (
            (config_dir / group / f"{name}.yaml").read_text()
            if group == "model"
            else ("name: mine\nclass_names: raw\ntemplates: ['{} on a table', 'my {}']\n")
        )
        (own / group / f"{name}.yaml").write_text(text)
    done = small(
        "--config-dir",
        str(own),
        "model=small",
        "prompt=mine",
        "stage=predict",
        f"stage.images={photos}/0.png",
        "stage.labels=[a,b]",
        "hydra.run.dir=out",
    )
    assert done.returncode == 0, done.stderr
    left = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert left["prompt"] == {"name": "mine", "templates": ["{} on a table", "my {}"], "class_names": "raw"}
    assert left["timing"]["texts_encoded"] == 4
