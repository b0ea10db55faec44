"""The runner: one record, written once and never replaced, whatever happens after it."""

import errno
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zeroshot import report, run
from zeroshot.config.compose import compose
from zeroshot.errors import ZeroshotError
from zeroshot.runs import folder as run_folder
from zeroshot.stages import evaluate
from zeroshot.stages.result import StageResult

RESULT: dict[str, Any] = {
    "metrics": {"top1": 0.5, "top5": None, "mean_per_class_recall": 0.5, "ece": 0.1, "correct": 1},
    "dataset": {"name": "shapes", "size": 2, "fingerprint": "0"},
    "timing": {"images_per_s": None, "total_s": 1.0},
    "references": [],
}


@pytest.fixture
def request_() -> run.Request:
    config = compose({"model": "clip_tiny", "dataset": "shapes", "stage": "eval"}, {})
    return run.Request(config, ["model=clip_tiny"], {"command": ["model=clip_tiny"]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return run_folder.claim(tmp_path / "run")


def stage_with(monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], error: str | None = None) -> None:
    monkeypatch.setattr(evaluate, "run", lambda _config: StageResult(dict(RESULT), write, error=error))


def record(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return loaded


def nothing(_folder: Path) -> None:
    """Result files of no interest."""


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("no fonts")])
def test_a_failure_while_the_page_is_drawn_leaves_the_finished_record(
    request_: run.Request, folder: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def draw(*_: object) -> None:
        raise failure

    stage_with(monkeypatch, nothing)
    monkeypatch.setattr(report, "draw_run", draw)
    with pytest.raises(type(failure)):
        run.run_in_folder(request_, folder)
    assert record(folder)["metrics"] == RESULT["metrics"]
    assert "error" not in record(folder)
    assert not run_folder.holds(folder)
    assert "0.5" in (folder.parent / "outputs" / "index.csv").read_text()


def test_results_that_do_not_fit_on_the_disk_leave_the_record_with_metrics_and_error(
    request_: run.Request, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(target / "predictions.csv"))

    stage_with(monkeypatch, write)
    with pytest.raises(ZeroshotError, match=r"predictions\.csv: the results can't be written \(No space left"):
        run.run_in_folder(request_, folder)
    left = record(folder)
    assert left["metrics"] == RESULT["metrics"]
    assert "No space left" in left["error"]


def test_a_stage_that_fails_leaves_a_record_with_its_error_and_no_metrics(
    request_: run.Request, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_config: object) -> StageResult:
        raise ZeroshotError("no weights: give some")

    monkeypatch.setattr(evaluate, "run", fail)
    with pytest.raises(ZeroshotError, match="no weights"):
        run.run_in_folder(request_, folder)
    assert record(folder)["error"] == "no weights: give some"
    assert "metrics" not in record(folder)
    assert not run_folder.holds(folder)


def test_an_interrupted_stage_leaves_a_record_that_says_so(
    request_: run.Request, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_config: object) -> StageResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.run_in_folder(request_, folder)
    assert record(folder)["error"] == "interrupted"


def test_an_outcome_with_an_error_is_complete_and_fails(
    request_: run.Request, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(target: Path) -> None:
        (target / "results.txt").write_text("rest")

    stage_with(monkeypatch, write, error="1 of 2 images")
    with pytest.raises(ZeroshotError, match="1 of 2 images"):
        run.run_in_folder(request_, folder)
    assert record(folder)["error"] == "1 of 2 images"
    assert (folder / "results.txt").read_text() == "rest"


def test_the_record_says_how_to_repeat_the_run(
    request_: run.Request, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage_with(monkeypatch, nothing)
    with caplog.at_level(logging.INFO):
        run.run_in_folder(request_, folder)
    assert record(folder)["command"] == ["model=clip_tiny"]
    assert f"record: {folder.relative_to(Path.cwd()) / 'result.json'}" in caplog.messages
