"""Any images and any labels, through the functions and through the command line."""

import csv
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import Command
from zeroshot.errors import ZeroshotError
from zeroshot.scoring.ranking import Ranking
from zeroshot.stages.predict import SHOWN, Prediction, candidate_labels, few_latin_letters, find, ranked, write


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


def test_a_folder_is_searched_once_in_the_order_of_its_paths_whatever_links_lie_in_it(photos: Path) -> None:
    (photos / ".hidden.png").touch()
    (photos / "more-.png").touch()
    (photos / "more" / "UPPER.JPG").touch()
    (photos / "more" / "a.pdf").touch()  # which Pillow writes but can't read
    (photos / "again").symlink_to(photos)
    (photos / "nowhere.png").symlink_to(photos / "removed.png")
    found = find([str(photos), "https://a.b/c?d=*"])
    inside = [str(Path(path).relative_to(photos)) for path in found[:-1]]
    assert inside == sorted(inside)
    assert inside[-4:] == ["more-.png", "more/3.png", "more/4.png", "more/UPPER.JPG"]
    assert found[-1] == "https://a.b/c?d=*"
    assert len(found) == 10


def test_a_folder_or_a_glob_without_images_is_told(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "*.png"):
        with pytest.raises(ZeroshotError, match="holds no image"):
            find([str(place)])
    with pytest.raises(ZeroshotError, match="is empty"):
        find([])


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
    made: list[Prediction] = [
        {"image": "a,b.png", "scores": [{"label": 'a "dog"', "score": 0.75}, {"label": "cat", "score": 0.25}]},
        {"image": "ü\n.png", "error": "ü.png: cut short"},
        {"image": "c.png", "scores": [{"label": "cat", "score": 0.5}, {"label": 'a "dog"', "score": 0.5}]},
    ]
    summary = write(tmp_path, iter(made))
    assert (summary.size, summary.errors) == (3, 1)
    lines = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == made
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"], row["score"], row["error"]) for row in rows] == [
        ('a "dog"', "0.750000", ""),
        ("", "", "ü.png: cut short"),
        ("cat", "0.500000", ""),
    ]
    assert '75.00%  a "dog"' in (tmp_path / "results.txt").read_text(encoding="utf-8")
    assert str(summary) + "\n" == (tmp_path / "results.txt").read_text(encoding="utf-8")


def test_a_name_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    summary = write(tmp_path, [{"image": "\udcff.png", "error": "\udcff.png: no such file"}])
    assert "\\udcff.png" in str(summary)
    line = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8")
    assert json.loads(line)["image"] == "\udcff.png"


def test_what_fails_on_the_way_leaves_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[Prediction]:
        yield {"image": "a.png", "error": "no such file"}
        raise ZeroshotError("the disk is full")

    with pytest.raises(ZeroshotError):
        write(tmp_path, failing())
    assert not list(tmp_path.iterdir())


def test_the_terminal_shows_the_first_images_and_how_many_more_there_are(tmp_path: Path) -> None:
    summary = write(tmp_path, ({"image": f"{n}.png", "error": "none"} for n in range(SHOWN + 5)))
    assert str(summary).endswith("\n… and 5 more")
    assert str(summary).count("error: none") == SHOWN


@given(bad=st.lists(st.booleans(), max_size=40), batch=st.integers(1, 5))
def test_predictions_come_in_the_images_order_wherever_the_bad_ones_are(bad: list[bool], batch: int) -> None:
    def pixels() -> Iterator[NDArray[np.uint8]]:
        for place, each in enumerate(bad):
            if each:
                errors[place] = f"{place} is bad"
            else:
                yield np.array([place % 2], np.uint8)

    def rankings(source: Iterator[NDArray[np.uint8]]) -> Iterator[Ranking]:
        while parts := list(islice(source, batch)):
            yield Ranking(np.array([[int(part[0])] for part in parts]), np.full((len(parts), 1), 0.5))

    errors: dict[int, str] = {}
    names = [f"{place}.png" for place in range(len(bad))]
    made = list(ranked(names, ["even", "odd"], rankings(pixels()), errors))
    assert [each["image"] for each in made] == names
    for place, each in enumerate(made):
        if bad[place]:
            assert each["error"] == f"{place} is bad"
        else:
            assert each["scores"] == [{"label": ["even", "odd"][place % 2], "score": 0.5}]


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


def test_a_folder_of_200_good_and_bad_images_gives_a_line_each(small: Command, tmp_path: Path) -> None:
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
    assert done.stderr.splitlines() == [f"{len(bad)} of 200 images could not be read; each one's line says why"]
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


def test_pictures_behind_urls_stand_beside_files(small: Command, tmp_path: Path, photos: Path, server: str) -> None:
    urls = [f"{server}/{name}" for name in ("good?a=1&b=2", "missing", "redirect?file:///etc/passwd", "page")]
    wanted = ",".join(f'"{place}"' for place in [urls[0], photos / "0.png", *urls[1:]])
    done = small("model=small", "stage=predict", f"stage.images=[{wanted}]", "stage.labels=[a,b]", "hydra.run.dir=out")
    assert done.returncode == 1
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert [line["image"] for line in lines] == [urls[0], str(photos / "0.png"), *urls[1:]]
    assert [("scores" in line) for line in lines] == [True, True, False, False, False]
    assert done.stderr.splitlines() == ["3 of 5 images could not be read; each one's line says why"]


def test_labels_with_signs_of_their_own_go_through_as_they_are(small: Command, tmp_path: Path, photos: Path) -> None:
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


def test_a_prompt_set_of_ones_own_is_a_yaml(small: Command, tmp_path: Path, config_dir: Path, photos: Path) -> None:
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


def test_labels_are_embedded_in_blocks_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.drawn import SMALL, draw
    from zeroshot.models.encoder import Encoder
    from zeroshot.stages import parts

    encoder = Encoder(SMALL, draw(SMALL))
    texts = [f"{form} {number}" for number in range(7) for form in ("a photo of", "the")]
    whole = parts.embed(encoder, texts, 7)
    monkeypatch.setattr(parts, "TEXT_BLOCK", 5)  # two labels at a time
    np.testing.assert_allclose(parts.embed(encoder, texts, 7), whole, atol=1e-6)  # what shares a tree differs
    assert whole.shape == (7, SMALL.embed_dim)
