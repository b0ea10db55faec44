"""The record of a run, and published figures beside the same work alone."""

import json
from pathlib import Path

import pytest

from zeroshot.config.named import known_models, prompt_templates
from zeroshot.runs import record as run_record
from zeroshot.runs.folder import RECORD


def test_the_digest_depends_on_values_and_not_on_their_order() -> None:
    first = {"model": {"name": "a"}, "dataset": {"limit": 3}}
    assert run_record.digest(first) == run_record.digest(dict(reversed(first.items())))
    assert run_record.digest(first) != run_record.digest({**first, "dataset": {"limit": 4}})


def test_a_record_of_another_schema_or_a_broken_one_is_not_read(tmp_path: Path) -> None:
    assert run_record.read_record(tmp_path) is None
    for text in ("{", "[]", json.dumps({"schema": 99})):
        (tmp_path / RECORD).write_text(text)
        assert run_record.read_record(tmp_path) is None


def test_a_record_that_does_not_fit_into_its_folder_is_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    path = run_record.write_record(tmp_path / "missing", {"schema": 1, "metrics": {"top1": 0.5}})
    assert path.parent == tmp_path / "elsewhere"
    assert json.loads(path.read_text())["metrics"] == {"top1": 0.5}


MODEL = {"name": "clip_vit_b_32", "interpolation": "bilinear", "weights": {"identity": "clip_vit_b_32"}}
DATA = {"name": "cifar100", "labels": "fine", "size": 10000}
PROMPT = {"templates": ["a picture of {}"], "class_names": "raw"}


def test_the_same_work_gets_its_published_figure_and_the_distance_from_it() -> None:
    found = run_record.references(MODEL, DATA, PROMPT, 0.57, prompt_templates)
    assert found == [{"source": "MindFormers (model card)", "top1": 0.5724, "delta": -0.0024}]


@pytest.mark.parametrize(
    ("model", "data", "prompt"),
    [
        ({**MODEL, "interpolation": "bicubic"}, DATA, PROMPT),
        ({**MODEL, "weights": {"identity": None}}, DATA, PROMPT),
        (MODEL, {**DATA, "labels": "coarse"}, PROMPT),
        (MODEL, {**DATA, "name": "cifar10"}, PROMPT),
        (MODEL, {**DATA, "size": 9999}, PROMPT),
        (MODEL, DATA, {**PROMPT, "class_names": "spaces"}),
        (MODEL, DATA, {**PROMPT, "templates": ["a picture of {}."]}),
    ],
)
def test_other_work_gets_no_figure(
    model: dict[str, object], data: dict[str, object], prompt: dict[str, object]
) -> None:
    assert run_record.references(model, data, prompt, 0.57, prompt_templates) == []


def test_published_figures_are_of_models_and_prompts_that_exist() -> None:
    for entry in run_record.published():
        assert entry["top1"].keys() <= known_models().keys()
        assert prompt_templates(entry["prompt"])


def test_a_path_that_is_not_utf_8_is_recorded(tmp_path: Path) -> None:
    config = {"dataset": {"root": "caf\udce9"}}
    assert len(run_record.digest(config)) == 16
    run_record.write_record(tmp_path, {"schema": 1, "config": config})
    read = run_record.read_record(tmp_path)
    assert read is not None
    assert read["config"] == config
