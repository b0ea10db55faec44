"""The runs over time: one line each, also when many end together; the table of them, and two side by side."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from zeroshot.errors import ZeroshotError
from zeroshot.runs import compare as comparison
from zeroshot.runs import folder as run_folder
from zeroshot.runs import history as index
from zeroshot.runs import record as run_record


def run(folder: Path, top1: float | None = 0.5, model: str = "tiny", prompt: str = "plain", **more: Any) -> Path:
    """A run's folder with its record and the files that a comparison reads."""
    folder.mkdir(parents=True)
    record: dict[str, Any] = {
        "schema": 1,
        "stage": "eval",
        "config": {
            "model": {"name": model, "weights": {"path": None}},
            "dataset": {"name": "shapes", "limit": None},
            "prompt": {"name": prompt, "templates": ["{}"]},
        },
        "config_digest": "0" * 16,
        "versions": {"numpy": "1.26.4"},
        "overrides": [f"model={model}"],
        **more,
    }
    if top1 is not None:
        record |= {
            "model": {"weights": {"sha256": "a" * 64}},
            "metrics": {
                "top1": top1,
                "top5": None,
                "mean_per_class_recall": top1,
                "ece": 0.1,
                "correct": int(4 * top1),
            },
            "dataset": {"size": 4, "fingerprint": "f" * 64},
            "references": [],
            "timing": {"images_per_s": 12.34, "total_s": 0.81},
        }
        hits = int(4 * top1)
        run_folder.write_csv(
            folder / "per_class.csv", ("class", "recall", "id"), [("cat", f"{top1:.6f}", 0), ("dog", "1.000000", 1)]
        )
        found = [(place, "cat" if place < hits else "dog") for place in range(4)]
        run_folder.write_csv(folder / "predictions.csv", ("index", "prediction_id"), found)
    run_record.write_record(folder, record)
    return folder


def test_every_run_has_a_line_failed_or_not(tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    index.add(run(root / "day" / "a"), root)
    index.add(run(tmp_path / "elsewhere", None, error='cut, "short"'), root)
    index.add(tmp_path, root)  # no run
    newest, oldest = index.read(root)
    assert (oldest["folder"], newest["folder"]) == ("day/a", str(tmp_path / "elsewhere"))
    assert (oldest["status"], newest["status"]) == ("ok", 'cut, "short"')
    assert (oldest["top1"], oldest["images"], newest["top1"]) == ("0.5", "4", "")
    assert tuple(oldest) == index.COLUMNS


def test_runs_that_end_together_leave_a_whole_line_each(tmp_path: Path) -> None:
    run(tmp_path / "a")
    code = (
        "import pathlib, sys; from zeroshot.runs import history as index\n"
        "for _ in range(20): index.add(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a"), str(tmp_path / "outputs")]
    started = [subprocess.Popen(command, cwd=Path(__file__).parents[1]) for _ in range(3)]
    assert [process.wait() for process in started] == [0, 0, 0]
    with (tmp_path / "outputs" / "index.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert lines[0] == list(index.COLUMNS)
    assert len(lines) == 61
    assert {len(line) for line in lines} == {len(index.COLUMNS)}


def test_a_line_that_was_cut_short_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    index.add(run(tmp_path / "a"), tmp_path)
    path = tmp_path / "index.csv"
    path.write_bytes(path.read_bytes()[:-40])
    index.add(run(tmp_path / "b"), tmp_path)
    assert [line["folder"] for line in index.read(tmp_path)] == ["b"]
    assert "1 incomplete lines are left out" in caplog.text


def test_an_index_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ZeroshotError, match=r"no run has ended yet"):
        index.read(tmp_path)
    for content in (b"a,b\n1,2\n", b"\xff\xfe\x00", b""):
        (tmp_path / "index.csv").write_bytes(content)
        with pytest.raises(ZeroshotError, match=r"index\.csv"):
            index.read(tmp_path)


def test_a_line_is_added_to_an_index_of_an_earlier_version(tmp_path: Path) -> None:
    earlier = [column for column in index.COLUMNS if column != "overrides"]
    (tmp_path / "index.csv").write_text(",".join(earlier) + "\n", encoding="utf-8")
    index.add(run(tmp_path / "a"), tmp_path)
    assert [(line["folder"], line["overrides"]) for line in index.read(tmp_path)] == [("a", "")]


def test_an_index_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    index.add(run(tmp_path / "a"), tmp_path / "file")
    assert "can't be written" in caplog.text


def test_the_report_shows_the_newest_first_and_what_is_chosen(zeroshot: Command, tmp_path: Path) -> None:
    root = tmp_path / "outputs"
    for name, model, prompt in (("a", "clip_one", "plain"), ("b", "clip_two", "plain"), ("c", "other", "photo")):
        index.add(run(root / name, model=model, prompt=prompt), root)

    def report(*choice: str) -> list[str]:
        done = zeroshot("stage=report", *choice)
        assert done.returncode == 0, done.stderr
        assert "\033" not in done.stdout
        *lines, page = done.stdout.splitlines()
        assert page.endswith("outputs/index.html")
        return [line.split()[-1] for line in lines[1:]]

    assert report() == ["c", "b", "a"]
    assert report("stage.model=clip_*") == ["b", "a"]
    assert report("stage.model=[other,clip_one]", "stage.dataset=shapes", "stage.prompt=plain") == ["a"]
    none = zeroshot("stage=report", "stage.prompt=nothing")
    assert (none.returncode, none.stdout) == (1, "")
    assert "stage.prompt=nothing" in none.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"outputs", "home"}


def test_two_runs_side_by_side_show_what_differs(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a", 0.5), run(tmp_path / "b", 0.75, prompt="photo")
    assert comparison.format_comparison(first, second).splitlines() == [
        f"A: {first}",
        f"B: {second}",
        "",
        "config       A      B",
        "prompt.name  plain  photo",
        "",
        "metrics                    A      B  difference",
        "top1                   50.00  75.00      +25.00",
        "top5                       –      –           –",
        "mean per class recall  50.00  75.00      +25.00",
        "ece                    10.00  10.00       +0.00",
        "correct                    2      3          +1",
        "images per s            12.3   12.3        +0.0",
        "total s                  0.8    0.8        +0.0",
        "",
        "recall by class      A      B  difference",
        "cat              50.00  75.00      +25.00",
        "",
        "1 of 4 images of both runs have different predictions",
    ]
    assert "config: no difference" in comparison.format_comparison(first, first)


def test_runs_on_other_images_are_not_compared_in_their_metrics(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a", 0.5), run(tmp_path / "b", 0.75)
    record = json.loads((second / "result.json").read_text(encoding="utf-8"))
    record["dataset"]["fingerprint"] = "e" * 64
    (second / "result.json").write_text(json.dumps(record), encoding="utf-8")
    text = comparison.format_comparison(first, second)
    assert "images (fingerprint)" in text
    assert text.endswith("different images or classes: their metrics are not compared\n")
    assert "top1" not in text


def test_a_failed_run_is_compared_by_its_config(tmp_path: Path) -> None:
    text = comparison.format_comparison(
        run(tmp_path / "a"), run(tmp_path / "b", None, model="other", error="cut short")
    )
    assert "model.name  tiny" in text
    assert "B has no metrics: cut short" in text


def test_a_folder_without_a_run_is_refused(zeroshot: Command, tmp_path: Path) -> None:
    run(tmp_path / "outputs" / "a")
    done = zeroshot("stage=report", "stage.compare=[a,nowhere]")
    assert done.returncode == 1
    assert done.stderr.startswith("nowhere has no run")
    done = zeroshot("stage=report", "stage.compare=a")
    assert done.returncode == 1
    assert "stage.compare='[FOLDER,FOLDER]'" in done.stderr


@pytest.mark.parametrize("content", [b"caf\xe9,a\n1,2\n", b"finished;stage;model\n1;2;3\n", b'"' + b"x" * 200_000])
def test_an_index_that_is_another_file_is_a_warning_and_stays(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "index.csv").write_bytes(content)
    index.add(run(tmp_path / "a"), tmp_path)
    assert "index.csv" in caplog.text
    assert (tmp_path / "index.csv").read_bytes().startswith(content)
