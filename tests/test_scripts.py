"""MindFormers' two example scripts: from any folder, with another model and further overrides."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from zeroshot.data import class_names

EXPERIMENTS = ROOT / "experiments"


def script(name: str, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        ["sh", str(EXPERIMENTS / f"clip_vit_b_32_{name}_on_cifar100.sh"), *arguments],
        cwd=cwd,
        env=environment | {"PYTHON": sys.executable, "ZEROSHOT_HOME": str(cwd / "home")},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def test_the_evaluation_takes_another_model_and_overrides(tmp_path: Path, config_dir: Path, cifar: Path) -> None:
    done = script(
        *("eval", "small", "--config-dir", str(config_dir), f"dataset.root={cifar}", "hydra.run.dir=out"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Top1 Accuracy=" in done.stdout
    left = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert (left["model"]["name"], left["model"]["interpolation"]) == ("small", "bilinear")
    assert left["prompt"] == {"name": "mindformers", "templates": ["a picture of {}"], "class_names": "raw"}


def test_the_prediction_chooses_among_the_classes_of_cifar100(tmp_path: Path, config_dir: Path) -> None:
    done = script("predict", "small", "--config-dir", str(config_dir), "hydra.run.dir=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    names = class_names.read(ROOT / "zeroshot" / "data" / "cifar100_classes.txt")
    assert len(names) == 100
    assert {row["label"] for row in rows} <= set(names)
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert all(len(line["scores"]) == 3 for line in lines)


@pytest.mark.parametrize(
    ("name", "arguments", "model"),
    [
        ("eval", [], "clip_vit_b_32"),
        ("eval", ["device=cpu"], "clip_vit_b_32"),
        ("eval", ["clip_vit_l_14@336", "dataset.limit=5"], "clip_vit_l_14@336"),
        ("predict", ["clip_vit_b_16", 'stage.images="a b.png"'], "clip_vit_b_16"),
    ],
)
def test_the_first_word_is_a_model_where_it_is_no_override(
    tmp_path: Path, name: str, arguments: list[str], model: str
) -> None:
    done = script(name, *arguments, "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"\n  name: {model}\n" in done.stdout
    assert "name: mindformers" in done.stdout
    if "a b.png" in "".join(arguments):
        assert "images: a b.png" in done.stdout
