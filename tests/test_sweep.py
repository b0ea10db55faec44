"""A sweep from the command line: jobs that fail, are killed, are interrupted or done already, under each launcher."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from tests.conftest import ROOT, Command
from tests.drawn import SMALL
from zeroshot import sweep as sweeps
from zeroshot.config.named import known_models
from zeroshot.config.paths import source_folder
from zeroshot.runs import folder as run_folder
from zeroshot.runs import record as run_record
from zeroshot.stages import inputs

LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
    "ray": ["hydra/launcher=ray"],
}
PLUGINS = {"basic": "hydra", "joblib": "hydra_plugins.hydra_joblib_launcher"}
PLUGINS |= {"submitit_local": "hydra_plugins.hydra_submitit_launcher", "ray": "hydra_plugins.hydra_ray_launcher"}


def installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def each_launcher(*names: str) -> list[Any]:
    absent = "not installed: pip install 'zeroshot-mindspore[launchers]'"
    selected = {"ray": [pytest.mark.ray]}
    return [
        pytest.param(
            options,
            id=name,
            marks=[pytest.mark.skipif(not installed(PLUGINS[name]), reason=absent), *selected.get(name, [])],
        )
        for name, options in LAUNCHERS.items()
        if name in names
    ]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def folders(sweep: Path) -> list[str]:
    return sorted(path.name for path in sweep.iterdir() if path.is_dir() and (path / ".hydra").is_dir())


def stamps(sweep: Path, *names: str) -> list[int]:
    """When the records were written, to the nanosecond."""
    return [(sweep / name / "result.json").stat().st_mtime_ns for name in names]


@pytest.mark.parametrize("launcher", each_launcher(*LAUNCHERS))
def test_a_failed_job_is_a_row_and_the_repaired_sweep_computes_it_alone(
    small: Command, small_process: Command, tmp_path: Path, small_weights: Path, launcher: list[str]
) -> None:
    first, cut, last = (tmp_path / f"{name}.safetensors" for name in ("first", "cut", "last"))
    for path in (first, last):
        path.write_bytes(small_weights.read_bytes())
    cut.write_bytes(small_weights.read_bytes()[:5000])
    sweep = tmp_path / "sweep"

    def command(*paths: Path) -> "subprocess.CompletedProcess[str]":
        given = f"model.weights.path={','.join(map(str, paths))}"
        started = small_process if launcher else small  # a launcher's jobs are processes
        return started("-m", "model=small", given, "prompt=plain", "hydra.sweep.dir=sweep", *launcher)

    done = command(first, cut, last)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert folders(sweep) == ["0_small_plain", "1_small_plain", "2_small_plain"]
    table = rows(sweep / "table.csv")
    assert [row["status"] for row in table[::2]] == ["ok", "ok"]
    assert [float(row["top1"]) >= 0 for row in table[::2]] == [True, True]
    assert "cut short" in table[1]["status"]
    assert table[1]["top1"] == ""
    assert (sweep / "table.md").read_text(encoding="utf-8") in done.stdout

    before = stamps(sweep, "0_small_plain", "2_small_plain")
    cut.write_bytes(small_weights.read_bytes())
    mended = command(first, cut, last)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert folders(sweep) == ["0_small_plain", "1_small_plain", "1_small_plain-2", "2_small_plain"]
    assert stamps(sweep, "0_small_plain", "2_small_plain") == before
    assert [row["status"] for row in rows(sweep / "table.csv")] == ["ok"] * 3
    gathered = rows(tmp_path / "outputs" / "index.csv")
    assert sorted(Path(line["folder"]).name for line in gathered) == folders(sweep)

    assert command(last, first).returncode == 0  # narrowed and reordered: there is nothing to do, and no folder
    assert len(folders(sweep)) == 4
    assert len(rows(tmp_path / "outputs" / "index.csv")) == 4


def job_folder(sweep: Path, name: str, limit: int) -> Path:
    """The folder of a job with this limit, with the file of its config that Hydra writes there."""
    hydra = {"sweep": {"dir": str(sweep)}, "output_subdir": ".hydra", "runtime": {"output_dir": "???"}}
    config = {"stage": {"name": "eval"}, "dataset": {"limit": limit}}
    folder = sweep / sweeps.job_folder(name, _root_=OmegaConf.create({**config, "hydra": hydra}))
    (folder / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
    return folder


def finish(folder: Path, limit: int, **more: str) -> None:
    config = {"stage": {"name": "eval"}, "dataset": {"limit": limit}}
    run_record.write_record(folder, run_record.start_record(config, []) | more)
    run_folder.release(folder)


def test_a_job_finds_its_folder_by_its_config_whatever_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "are_unchanged", lambda _record: True)
    first = job_folder(tmp_path, "0_small", limit=6)
    assert first.name == "0_small"
    finish(first, limit=6)
    other = job_folder(tmp_path, "0_small", limit=9)
    assert other.name == "0_small-2"
    assert job_folder(tmp_path, "1_small", limit=6) == first
    finish(job_folder(tmp_path, "2_small", limit=12), limit=12, error="no weights")
    again = job_folder(tmp_path, "2_small", limit=12)
    assert again.name == "2_small-2"
    for folder in (other, again):
        run_folder.release(folder)


def test_a_finished_job_whose_weights_or_data_changed_gets_a_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "are_unchanged", lambda _record: False)
    finish(job_folder(tmp_path, "0_small", limit=6), limit=6)
    again = job_folder(tmp_path, "0_small", limit=6)
    assert again.name == "0_small-2"
    run_folder.release(again)


def test_the_folder_of_a_killed_job_is_taken_over_by_the_same_config_alone(tmp_path: Path) -> None:
    run_folder.release(job_folder(tmp_path, "3_small", limit=6))  # as the end of its process would
    other = job_folder(tmp_path, "0_small", limit=7)
    assert other.name == "0_small"
    same = job_folder(tmp_path, "1_small", limit=6)
    assert same.name == "3_small"
    assert job_folder(tmp_path, "1_small", limit=6).name == "1_small"  # it is held
    for name in ("0_small", "3_small", "1_small"):
        run_folder.release(tmp_path / name)


def test_a_resumed_sweep_computes_jobs_again_whose_weights_or_data_changed(
    small: Command, tmp_path: Path, small_weights: Path, cifar: Path
) -> None:
    weights, data = tmp_path / "own.safetensors", tmp_path / "data"
    weights.write_bytes(small_weights.read_bytes())
    shutil.copytree(cifar, data)

    def command() -> list[str]:
        given = [f"model.weights.path={weights}", f"dataset.root={data}", "hydra.sweep.dir=sweep"]
        done = small("-m", "model=small", "prompt=plain,photo", *given)
        assert done.returncode == 0, done.stderr
        return folders(tmp_path / "sweep")

    assert command() == ["0_small_plain", "1_small_photo"]
    assert command() == ["0_small_plain", "1_small_photo"]
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert len(command()) == 4
    test = bytearray((data / "test").read_bytes())
    place = test.index(b"\x80\x80") if b"\x80\x80" in test else len(test) // 2
    test[place] ^= 1
    (data / "test").write_bytes(test)
    assert len(command()) == 6
    assert [row["status"] for row in rows(tmp_path / "sweep" / "table.csv")] == ["ok", "ok"]


@pytest.fixture
def waiting(config_dir: Path, tmp_path: Path, small_weights: Path) -> Iterator[Callable[[], None]]:
    """`model=waiting`, whose weights another process seems to fetch, until the function given is called."""
    digest = sha256(small_weights.read_bytes()).hexdigest()
    weights = {"sources": [{"url": "http://localhost:1/waiting.safetensors", "sha256": digest}]}
    OmegaConf.save({"name": "waiting", **asdict(SMALL), "weights": weights}, config_dir / "model" / "waiting.yaml")
    target = tmp_path / "home" / "weights" / "waiting" / "waiting.safetensors"
    target.parent.mkdir(parents=True)
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    lock.acquire()

    def arrive() -> None:
        target.write_bytes(small_weights.read_bytes())
        lock.release()

    yield arrive
    lock.release()


@contextmanager
def in_the_middle_of_a_job(
    sweep: Path, config_dir: Path, cifar: Path, *arguments: str
) -> "Iterator[subprocess.Popen[str]]":
    """A sweep whose first job is done and whose second waits for its weights, as a process group of its own."""
    command = [sys.executable, "-m", "zeroshot", "--config-dir", str(config_dir), f"dataset.root={cifar}", "device=cpu"]
    surroundings = {**os.environ, "ZEROSHOT_HOME": str(sweep.parent / "home"), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "device.batch_size=8", "-m", "model=small,waiting", "prompt=plain", *arguments],
        cwd=sweep.parent,
        env=surroundings,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while not (
        (sweep / "0_small_plain" / "result.json").exists()
        and (sweep / "1_waiting_plain" / "zeroshot.log").exists()
        and "waiting for another process" in (sweep / "1_waiting_plain" / "zeroshot.log").read_text(encoding="utf-8")
    ):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the second job never came to its weights"
        time.sleep(0.05)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("launcher", each_launcher("basic", "joblib", "submitit_local"))
def test_a_killed_sweep_shows_its_unfinished_job_and_goes_on_beside_another(
    small: Command,
    small_process: Command,
    waiting: Callable[[], None],
    config_dir: Path,
    cifar: Path,
    tmp_path: Path,
    launcher: list[str],
) -> None:
    sweep = tmp_path / "same"
    named_by_time = "hydra.sweep.dir='${now:same}'"  # a pattern without a field: any second is the same
    with in_the_middle_of_a_job(sweep, config_dir, cifar, named_by_time, *launcher) as process:
        second = small("-m", "model=small", "prompt=plain,photo", named_by_time)
        assert second.returncode == 0, second.stderr
        os.killpg(process.pid, signal.SIGKILL)
    assert folders(tmp_path / "same-2") == ["0_small_plain", "1_small_photo"]
    assert folders(sweep) == ["0_small_plain", "1_waiting_plain"]
    assert not (sweep / "1_waiting_plain" / "result.json").exists()
    assert [(row["model"], row["status"]) for row in rows(sweep / "table.csv")] == [
        ("small", "ok"),
        ("waiting", "unfinished"),
    ]
    before = stamps(sweep, "0_small_plain")
    waiting()
    again = small_process if launcher else small
    done = again("-m", "model=waiting,small", "prompt=plain", "hydra.sweep.dir=same", *launcher)
    assert done.returncode == 0, done.stdout + done.stderr
    assert folders(sweep) == ["0_small_plain", "1_waiting_plain"]
    assert not list(sweep.rglob("run.lock"))
    assert stamps(sweep, "0_small_plain") == before
    assert [row["status"] for row in rows(sweep / "table.csv")] == ["ok", "ok"]


def test_ctrl_c_ends_with_130_and_the_table_of_what_is_done(
    waiting: Callable[[], None], config_dir: Path, cifar: Path, tmp_path: Path
) -> None:
    sweep = tmp_path / "sweep"
    with in_the_middle_of_a_job(sweep, config_dir, cifar, "hydra.sweep.dir=sweep") as process:
        os.killpg(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "interrupted; finished work is kept" in stderr
    assert "| interrupted |" in stdout
    table = rows(sweep / "table.csv")
    assert [row["model"] for row in table] == ["small", "waiting"]
    assert [row["status"] for row in table] == ["ok", "interrupted"]


def test_ctrl_c_while_a_network_computes_leaves_the_record_of_it(config_dir: Path, cifar: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from zeroshot.__main__ import main\n"
        "from zeroshot.interrupts import handled\n"
        "with handled():\n"  # before NumPy starts threads, as the command line does
        "    from zeroshot.stages import encoder as stage\n"
        "load = stage.load_new_model\n"
        "def load_and_stop(*given):\n"
        "    loaded = load(*given)\n"
        "    encode = loaded.encoder.encode_text\n"
        "    def encode_and_stop(*texts):\n"
        "        encode(*texts)\n"  # MindSpore has installed its handlers by now
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        return encode(*texts)\n"
        "    loaded.encoder.encode_text = encode_and_stop\n"
        "    return loaded\n"
        "stage.load_new_model = load_and_stop\n"
        "sys.exit(main())"
    )
    arguments = ["--config-dir", str(config_dir), f"dataset.root={cifar}", "model=small", "device=cpu"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "hydra.run.dir=out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["error"] == "interrupted"


def test_the_four_models_experiment_is_a_sweep_with_a_table(small: Command, tmp_path: Path) -> None:
    done = small("experiment=cifar100_four_models", "model=small", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert folders(tmp_path / "sweep") == ["0_small_mindformers"]
    header = "| model | top-1 | published | difference | top-5 | mean per-class recall | images/s | seconds |"
    assert header in done.stdout
    assert "cifar100, prompt mindformers, 12 images" in done.stdout
    left = json.loads((tmp_path / "sweep" / "0_small_mindformers" / "result.json").read_text(encoding="utf-8"))
    assert left["config"]["model"]["interpolation"] == "bilinear"


def test_the_prompts_give_a_matrix_of_models_and_prompts(small: Command, tmp_path: Path) -> None:
    done = small("experiment=cifar100_prompts", "model=small", "prompt=plain,photo", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    assert folders(tmp_path / "sweep") == ["0_small_plain", "1_small_photo"]
    table = rows(tmp_path / "sweep" / "table.csv")
    figures = [f"{100 * float(row['top1']):5.2f}" for row in table]
    lines = (tmp_path / "sweep" / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[-3:] == [
        "| model | plain | photo |",
        "|-------|------:|------:|",
        "| small | {} | {} |".format(*figures),
    ]


@pytest.mark.parametrize("name", ["cifar100_four_models", "cifar100_prompts"])
def test_the_experiments_name_all_models_of_openai_and_all_english_prompts(name: str) -> None:
    study = OmegaConf.load(source_folder("experiments") / f"{name}.yaml")
    assert study.hydra.mode == "MULTIRUN"
    params = study.hydra.sweeper.params
    assert set(params.model.split(",")) == {model for model in known_models() if model.startswith("clip_vit_")}
    if "prompt" in params:
        prompts = {path.stem for path in (source_folder("conf") / "prompt").glob("*.yaml")}
        assert set(params.prompt.split(",")) == {name for name in prompts if not name.startswith("chinese_")}


def test_a_failed_job_of_a_stage_without_folders_sets_the_exit_status(small: Command, tmp_path: Path) -> None:
    outputs = f"stage.output={tmp_path / 'small.safetensors'},{tmp_path / 'nowhere' / 'small.safetensors'}"
    (tmp_path / "nowhere").write_text("a file, no folder")
    done = small("-m", "model=small", "stage=convert", outputs)
    assert done.returncode == 1
    assert (tmp_path / "small.safetensors").exists()
    assert not (tmp_path / "outputs").exists()


def test_a_folder_that_cannot_be_made_is_one_line(small: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for arguments in (["hydra.run.dir=file/run"], ["-m", "hydra.sweep.dir=file/sweep"]):
        done = small("model=small", *arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert "=FOLDER" in done.stderr


@pytest.mark.skipif(not installed(PLUGINS["submitit_local"]), reason="hydra-submitit-launcher is not installed")
def test_the_example_for_slurm_composes(zeroshot: Command) -> None:
    done = zeroshot("experiment=cifar100_four_models", "device=ascend", "hydra/launcher=slurm_ascend", "--cfg", "hydra")
    assert done.returncode == 0, done.stderr
    launcher = OmegaConf.create(done.stdout).hydra.launcher
    assert launcher["_target_"].endswith("SlurmLauncher")
    assert (launcher.partition, launcher.gres, launcher.array_parallelism) == ("ascend", "npu:1", 4)
