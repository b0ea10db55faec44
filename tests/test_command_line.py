"""The command line as people use it: its files, its exit status, its one line."""

import csv
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT, Command
from tests.drawn import SMALL, draw
from zeroshot import __version__
from zeroshot.config.overrides import check_overrides, quoted, split
from zeroshot.errors import ZeroshotError
from zeroshot.models.encoder import Encoder


def record(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return loaded


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_its_complete_record(small_process: Command, tmp_path: Path) -> None:
    done = small_process("model=small", "hydra.run.dir=out", "prompt=photo")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder = tmp_path / "out"
    names = {path.name for path in folder.iterdir()}
    tables = {"predictions.csv", "per_class.csv", "confusion.csv"}
    assert names == {".hydra", "zeroshot.log", "result.json", "report.html", "figures", *tables}
    left = record(folder)
    assert left["schema"] == 1
    assert left["stage"] == "eval"
    assert left["config"]["model"]["vision_width"] == SMALL.vision_width
    assert left["model"]["weights"]["identity"] is None
    assert left["references"] == []
    assert left["device"] == {"target": "CPU", "dtype": "float32", "batch_size": 8, "world_size": 1}
    assert (left["dataset"]["size"], left["dataset"]["classes"], left["dataset"]["labels"]) == (12, 6, "fine")
    assert left["timing"]["images_encoded"] == 12
    assert left["timing"]["texts_encoded"] == 6
    assert left["versions"]["zeroshot"] == __version__
    assert "prompt=photo" in left["overrides"]
    predictions = rows(folder / "predictions.csv")
    assert [row["index"] for row in predictions] == [str(i) for i in range(12)]
    correct = sum(row["label"] == row["prediction"] for row in predictions)
    assert left["metrics"]["correct"] == correct
    assert left["metrics"]["top1"] == correct / 12
    assert f"Top1 Accuracy={correct / 12:.2%}" in done.stdout
    assert f"Top1 Accuracy={correct / 12:.2%}" in (folder / "zeroshot.log").read_text(encoding="utf-8")
    assert sum(int(row["images"]) for row in rows(folder / "per_class.csv")) == 12


def test_a_run_can_be_repeated_from_its_record_and_batch_sizes_agree(small: Command, tmp_path: Path) -> None:
    predictions = {}
    for size in (1, 7, 32):
        done = small("model=small", f"hydra.run.dir=b{size}", f"device.batch_size={size}", "prompt=plain")
        assert done.returncode == 0, done.stderr
        predictions[size] = rows(tmp_path / f"b{size}" / "predictions.csv")
    for size in (7, 32):
        for ours, other in zip(predictions[1], predictions[size], strict=True):
            assert float(ours["score"]) == pytest.approx(float(other["score"]), abs=1e-5)
            assert ours["prediction"] == other["prediction"]
    again = small("model=small", "hydra.run.dir=b7", "device.batch_size=7", "prompt=plain")
    assert again.returncode == 0
    first, second = tmp_path / "b7", tmp_path / "b7-2"  # never into the same folder
    assert (first / "predictions.csv").read_bytes() == (second / "predictions.csv").read_bytes()
    assert record(first)["config_digest"] == record(second)["config_digest"]
    assert record(first)["metrics"] == record(second)["metrics"]


def test_keys_of_the_model_can_all_be_set_on_the_command_line(
    small: Command, small_weights: Path, tmp_path: Path
) -> None:
    sizes = [f"model.{name}={value}" for name, value in vars(SMALL).items() if value is not None]
    done = small(
        *sizes, f"model.weights.path={small_weights}", "model.name=mine", "hydra.run.dir=out", "dataset.limit=6"
    )
    assert done.returncode == 0, done.stderr
    assert record(tmp_path / "out")["model"]["name"] == "mine"
    assert [row["index"] for row in rows(tmp_path / "out" / "predictions.csv")] == ["0", "2", "4", "6", "8", "10"]


def test_a_failed_job_leaves_its_record_and_the_rest_run(
    small: Command, tmp_path: Path, config_dir: Path, small_weights: Path
) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(small_weights.read_bytes()[:5000])
    paths = f"model.weights.path={small_weights},{cut},{small_weights}"
    limits = "dataset.limit=6"
    done = small("-m", "model=small", paths, limits, "prompt=plain", "hydra.sweep.dir=sweep")
    assert done.returncode == 1, done.stdout
    folders = sorted(path for path in (tmp_path / "sweep").iterdir() if (path / ".hydra").is_dir())
    assert [folder.name for folder in folders] == ["0_small_plain", "1_small_plain"]  # the last is the first again
    assert "metrics" in record(folders[0])
    assert str(cut) in record(folders[1])["error"]
    assert "metrics" not in record(folders[1])
    assert f"done already: {folders[0]}" in done.stdout
    assert "Traceback" not in done.stderr
    table = rows(tmp_path / "sweep" / "table.csv")
    assert [row["status"] == "ok" for row in table] == [True, False]
    assert (tmp_path / "sweep" / "table.md").read_text(encoding="utf-8") in done.stdout
    page = (tmp_path / "sweep" / "report.html").read_text(encoding="utf-8")
    assert all(f'href="{n}_small_plain/report.html"' in page for n in (0, 1))
    assert str(cut) in page


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model.weights.path=nowhere.safetensors"], "nowhere.safetensors"),
        (["dataset.root=nowhere"], "nowhere"),
        (["device=ascend"], "no Ascend card or driver"),
        (["prompt.templates=['a photo']"], "prompt.templates: «a photo»"),
        (["prompt.templates=['" + "word " * 80 + "{}']"], "tokens"),
    ],
)
def test_a_single_run_that_fails_prints_one_line_and_leaves_its_record(
    small: Command, tmp_path: Path, overrides: list[str], expected: str
) -> None:
    done = small("model=small", "hydra.run.dir=out", *overrides)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert expected in done.stderr
    left = record(tmp_path / "out")
    assert left["error"] == done.stderr.strip()
    assert "metrics" not in left
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {".hydra", "zeroshot.log", "result.json", "report.html"}


def test_a_page_that_cannot_be_drawn_is_a_warning(small_process: Command, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "jinja2.py").write_text("raise ImportError('no templates here')")
    done = small_process("model=small", "hydra.run.dir=out", "prompt=plain", PYTHONPATH=f"{tmp_path / 'broken'}:{ROOT}")
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "report.html could not be drawn" in done.stderr
    assert "metrics" in record(tmp_path / "out")


def test_the_page_of_all_runs_is_drawn_by_a_stage_that_loads_no_mindspore(
    zeroshot_process: Command, tmp_path: Path
) -> None:
    assert zeroshot_process("model.weights.path=nowhere", "dataset=shapes").returncode == 1
    done = zeroshot_process("stage=report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("page: outputs/index.html\n")
    page = (tmp_path / "outputs" / "index.html").read_text(encoding="utf-8")
    assert page.count("report.html") == 1
    assert "nowhere: " in page


def test_a_pickle_that_runs_a_command_runs_nothing(small: Command, tmp_path: Path, cifar: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            import os

            return os.system, (f"touch {tmp_path / 'ran'}",)

    bad = tmp_path / "cifar-100-python"
    bad.mkdir()
    (bad / "meta").write_bytes((cifar / "meta").read_bytes())
    (bad / "test").write_bytes(pickle.dumps({"data": Bomb(), "fine_labels": [0], "coarse_labels": [0]}, protocol=2))
    done = small("model=small", f"dataset.root={bad}")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(bad / "test") in done.stderr
    assert not (tmp_path / "ran").exists()


def test_an_error_shows_its_trace_on_request(small_process: Command) -> None:
    done = small_process("model=small", "dataset.root=nowhere", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroshotError" in done.stderr


HEAVY = {
    "mindspore",
    "numpy",
    "PIL",
    "ftfy",
    "regex",
    "requests",
    "matplotlib",
    "jinja2",
    "tqdm",
    "safetensors",
    "filelock",
}
FLAGS = [
    ["--help"],
    ["--hydra-help"],
    ["--cfg", "job"],
    ["--cfg", "hydra"],
    ["--cfg", "all", "--resolve"],
    ["--cfg", "job", "--package", "model"],
    ["--info", "defaults-tree"],
    ["--info", "defaults"],
    ["--info", "searchpath"],
    ["--info", "config"],
    ["--info", "plugins"],
    ["--info"],
    ["-i", "all"],
    ["-sc", "install=bash"],
    ["--version"],
]


@pytest.mark.parametrize("flag", FLAGS, ids=" ".join)
def test_every_flag_of_hydra_works_and_loads_no_heavy_module(flag: list[str], tmp_path: Path) -> None:
    overrides = [] if flag == ["--hydra-help"] else ["model=clip_vit_l_14@336", "prompt=photo"]
    code = (
        f"import sys; sys.argv = ['zeroshot', *{overrides[:1]!r}, *{flag!r}, *{overrides[1:]!r}]\n"
        "from zeroshot.__main__ import main\n"
        "status = main()\n"
        f"loaded = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(status or (f'loaded {loaded}' if loaded else 0))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (["--config-dir", "own", "--cfg", "job", "model=own_model"], "name: own_model"),
        (["-cd", "own", "--cfg", "job", "model=own_model"], "name: own_model"),
        (["--cfg", "job", "-p", "model", "model=clip_vit_l_14@336"], "image_size: 336"),
        (["--run", "--help"], "zeroshot"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_flags_with_values_work_before_overrides(
    zeroshot: Command, tmp_path: Path, flag: list[str], expected: str
) -> None:
    (tmp_path / "own" / "model").mkdir(parents=True)
    own = "defaults: [clip_vit_b_32, _self_]\nname: own_model\n"
    (tmp_path / "own" / "model" / "own_model.yaml").write_text(own)
    done = zeroshot(*flag)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_the_help_page_names_every_choice(zeroshot: Command) -> None:
    done = zeroshot("--help")
    assert done.returncode == 0
    for word in ("clip_vit_l_14@336", "image_folder", "openai_imagenet_7", "ascend", "experiment", "--config-dir"):
        assert word in done.stdout


def test_the_version_is_printed(zeroshot_process: Command) -> None:
    assert zeroshot_process("--version").stdout == f"zeroshot {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("stage.images=https://a.b/c?x=1&y=2", "'stage.images=\"https://a.b/c?x=1&y=2\"'"),
        ("stage.labels=[向日葵,bird's nest]", '"stage.labels=[\\"向日葵\\",\\"bird\'s nest\\"]"'),
        ("dataset.root=~/photos", "'dataset.root=\"~/photos\"'"),
        ("dataset.root=C#", "'dataset.root=\"C#\"'"),
        ("dataset.name=été", "'dataset.name=\"été\"'"),
        ("dataset.root=photos (1)", "'dataset.root=\"photos (1)\"'"),
        ("stage.labels=[cat\n,bird's nest]", '"stage.labels=[\\"cat\\",\\"bird\'s nest\\"]"'),
        ("stage.labels=[cat\ndog]", '\'stage.labels=["cat","dog"]\''),
        ("stage.labels=['a, b',c's]", '"stage.labels=[\\"a, b\\",\\"c\'s\\"]"'),
        (r"""stage.labels=['it\'s',"a \"b\"",c's]""", r"""'stage.labels=["it'"'"'s","a \"b\"","c'"'"'s"]'"""),
    ],
)
def test_an_override_that_hydra_cannot_read_is_refused_with_a_spelling_that_works(typed: str, expected: str) -> None:
    with pytest.raises(ZeroshotError) as caught:
        check_overrides([typed])
    assert expected in str(caught.value)
    shell = subprocess.run(["sh", "-c", f"printf %s {quoted(typed)}"], capture_output=True, text=True, check=True)
    check_overrides([shell.stdout])  # as the shell passes it on


@pytest.mark.parametrize("group", ["model", "prompt", "dataset", "device", "stage"])
def test_a_list_of_choices_is_refused_since_hydra_would_merge_them(group: str) -> None:
    with pytest.raises(ZeroshotError, match=f"{group} is one choice: type -m {group}=a,b to run a job for each"):
        check_overrides([f"{group}=[a,b]"])
    for number in ("5", "null", "true"):
        with pytest.raises(ZeroshotError, match=f"{group} is a name; see --help"):
            check_overrides([f"{group}={number}"])
    check_overrides([f"{group}=a,b"])


@pytest.mark.parametrize("flag", [["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"], ["-cd=own"]])
def test_a_file_of_ones_own_with_the_name_of_ours_is_refused_however_its_folder_is_given(
    flag: list[str], tmp_path: Path, zeroshot: Command
) -> None:
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "clip_tiny.yaml").write_text("name: other\n")
    done = zeroshot(*flag, "model=clip_tiny", "--cfg", "job")
    assert done.returncode == 1
    assert "model=clip_tiny is also in conf/: give yours another name" in done.stderr


def test_flags_may_be_anywhere_and_keep_their_values() -> None:
    typed = ["model=a", "--config-dir", "a=~b", "-m", "dataset.limit=3", "--cfg", "job"]
    assert split(typed) == (["--config-dir", "a=~b", "-m", "--cfg", "job"], ["model=a", "dataset.limit=3"])


def test_a_word_that_is_not_an_override_is_refused(zeroshot: Command) -> None:
    done = zeroshot("clip_vit_b_32")
    assert done.returncode == 1
    assert done.stderr.startswith("clip_vit_b_32: ")
    assert "KEY=VALUE" in done.stderr


def test_the_encoder_predicts_what_the_command_line_predicted(small: Command, tmp_path: Path, cifar: Path) -> None:
    from zeroshot.data import cifar as cifar_data
    from zeroshot.scoring.prompts import fill_templates

    assert small("model=small", "hydra.run.dir=out", "prompt=plain").returncode == 0
    data = cifar_data.load(cifar, "test", "fine", "cifar100")
    encoder = Encoder(SMALL, draw(SMALL), batch_size=8)
    scores = encoder.encode_image(data.images) @ encoder.encode_text(fill_templates(data.classes, ["{}"], "spaces")).T
    best = np.asarray(scores.argmax(axis=1))
    assert [row["prediction"] for row in rows(tmp_path / "out" / "predictions.csv")] == [data.classes[i] for i in best]
