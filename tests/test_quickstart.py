"""The first command that anyone types, and the figures that it must reach."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Command
from zeroshot.data import shapes

OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


def record(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return loaded


def test_the_first_command_needs_nothing_reaches_its_figures_and_leaves_outputs_alone(
    zeroshot_process: Command, tmp_path: Path
) -> None:
    done = zeroshot_process("experiment=quickstart", "device=cpu", **OFFLINE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {path.name for path in tmp_path.iterdir()} <= {"outputs", "home"}
    folder = next((tmp_path / "outputs").glob("*/*_clip_tiny"))
    left = record(folder)
    assert left["groups"]["seen pairs"]["top1"] >= 0.90
    assert left["groups"]["unseen pairs"]["top1"] >= 0.60
    assert [left["groups"][name]["size"] for name in ("seen pairs", "unseen pairs")] == [800, 200]
    counts = [each["correct"] for each in (left["metrics"], *left["groups"].values())]
    assert counts[0] == counts[1] + counts[2]
    printed = re.findall(r"^(?:all|seen pairs|unseen pairs) +(\d+) +(\d+)", done.stdout, re.MULTILINE)
    assert [int(correct) for _, correct in printed] == counts
    assert str(folder.relative_to(tmp_path) / "result.json") in done.stdout
    assert "python -m zeroshot model=clip_vit_b_32" in done.stdout

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, correct in zip(("all", "seen pairs", "unseen pairs"), counts, strict=True):
        assert re.search(rf"^{name} +\d+ +{correct} ", readme, re.MULTILINE), f"README: {name} gets {correct}"

    again = zeroshot_process("experiment=quickstart", "device=cpu", "hydra.run.dir=again", **OFFLINE)
    assert again.returncode == 0
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == (folder / "predictions.csv").read_bytes()


def test_another_thousand_images_are_within_three_points(zeroshot: Command, tmp_path: Path) -> None:
    for seed in ("null", "1"):
        done = zeroshot("experiment=quickstart", "device=cpu", f"dataset.seed={seed}", f"hydra.run.dir=seed{seed}")
        assert done.returncode == 0, done.stderr
    first, second = record(tmp_path / "seednull"), record(tmp_path / "seed1")
    assert first["dataset"]["fingerprint"] != second["dataset"]["fingerprint"]
    assert second["metrics"]["top1"] == pytest.approx(first["metrics"]["top1"], abs=0.03)
    assert second["groups"]["seen pairs"]["top1"] >= 0.90
    assert second["groups"]["unseen pairs"]["top1"] >= 0.60


def test_the_set_written_as_cifar_100_gives_the_same_result(zeroshot: Command, tmp_path: Path) -> None:
    shapes.write_cifar(tmp_path / "cifar-100-python", train=100)
    done = zeroshot("experiment=quickstart", "device=cpu", "hydra.run.dir=drawn", "dataset.size=1000")
    assert done.returncode == 0, done.stderr
    done = zeroshot(
        "model=clip_tiny", "dataset=cifar100", "dataset.root=cifar-100-python", "device=cpu", "hydra.run.dir=read"
    )
    assert done.returncode == 0, done.stderr
    assert record(tmp_path / "drawn")["metrics"] == record(tmp_path / "read")["metrics"]
    assert (tmp_path / "drawn" / "predictions.csv").read_bytes() == (tmp_path / "read" / "predictions.csv").read_bytes()


def test_the_bundled_pictures_are_classified_correctly(zeroshot_process: Command, tmp_path: Path) -> None:
    done = zeroshot_process("experiment=quickstart_predict", "device=cpu", "hydra.run.dir=out", **OFFLINE)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) >= 3
    for line in lines:
        assert line["scores"][0]["label"] == Path(line["image"]).stem.replace("_", " ")
    assert any(line["scores"][0]["label"] in shapes.UNSEEN for line in lines)


def test_words_that_the_embedded_model_never_met_are_named(zeroshot: Command, tmp_path: Path) -> None:
    picture = ROOT / "zeroshot" / "data" / "pictures"
    done = zeroshot(
        *("model=clip_tiny", "stage=predict", "prompt=plain", f"stage.images={picture}", "device=cpu"),
        "stage.labels=[red circle,aardvark]",
    )
    assert done.returncode == 0
    assert "aardvark" in done.stderr
    assert "red" not in done.stderr.replace("trained", "")
