"""Runs over several ranks through `msrun`: the same files as one process makes, and what happens when a rank fails.

`python -m pytest -m msrun`, on its own: the ordinary command leaves it out.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import ROOT, Command
from tests.quick_encoder import pictures
from tests.test_feature_store_command import counts, figures, record, stored
from tests.test_ranks import HOST, free_port

pytestmark = [
    pytest.mark.msrun,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no msrun"),
]
PREDICTIONS = ("results.txt", "predictions.jsonl", "predictions.csv")
MAIN = "import sys\nfrom zeroshot.__main__ import main\nsys.exit(main())\n"


class Msrun:
    """`msrun … zeroshot ARGUMENTS` in a folder, its logs in `log`."""

    def __init__(self, tmp_path: Path, before: str = "") -> None:
        self.folder, self.before = tmp_path, before

    def start(
        self, size: int, *arguments: str, options: tuple[str, ...] = (), local: int | None = None, log: str = "log"
    ) -> "subprocess.Popen[str]":
        script = self.folder / "main.py"
        script.write_text(self.before + MAIN)
        given = [f"--worker_num={size}", f"--local_worker_num={local or size}", f"--master_addr={HOST}", "--join=True"]
        port = [] if any(option.startswith("--master_port") for option in options) else [f"--master_port={free_port()}"]
        msrun = [str(Path(sys.executable).with_name("msrun")), *given, *port, *options, f"--log_dir={log}", str(script)]
        return subprocess.Popen(
            [*msrun, *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "PYTHONSAFEPATH": "1",
                "ZEROSHOT_HOME": str(self.folder / "home"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __call__(self, size: int, *arguments: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        process = self.start(size, *arguments, **more)
        out, err = process.communicate(timeout=250)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def log(self, name: str, folder: str = "log") -> str:
        """`scheduler` or `worker_N`."""
        return (self.folder / folder / f"{name}.log").read_text(encoding="utf-8")


@pytest.fixture
def msrun(tmp_path: Path) -> Msrun:
    return Msrun(tmp_path)


@pytest.fixture(scope="session")
def arguments(config_dir: Path) -> list[str]:
    return ["--config-dir", str(config_dir), "model=small", "device=cpu", "device.batch_size=16", "prompt=plain"]


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory, arguments: list[str]) -> Path:
    """A home in which three ranks have encoded every other image of 1,003."""
    msrun = Msrun(tmp_path_factory.mktemp("half"))
    done = msrun(3, *arguments, "dataset=shapes", "dataset.size=1003", "dataset.limit=502", "hydra.run.dir=out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts(msrun.folder / "out") == (502, 0)
    return msrun.folder / "home"


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory, arguments: list[str]) -> Path:
    """What one process makes of 1,003 images and of two."""
    folder = tmp_path_factory.mktemp("alone")
    command = [sys.executable, "-m", "zeroshot", *arguments, "-m", "dataset=shapes", "dataset.size=1003,2"]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, "stage.cache=false", "hydra.sweep.dir=sweep"], cwd=folder, env=surroundings, check=True)
    return folder / "sweep"


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_any_number_of_ranks_gives_the_files_of_one_process(
    msrun: Msrun, arguments: list[str], alone: Path, half: Path, size: int
) -> None:
    shutil.copytree(half, msrun.folder / "home")
    sweep = ["-m", "dataset=shapes", "stage.cache=true,false", "dataset.size=1003,2", "hydra.sweep.dir=sweep"]
    done = msrun(size, *arguments, *sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = [msrun.folder / "sweep" / f"{number}_small_plain" for number in range(4)]
    for job, same in zip(jobs, ("0", "1", "0", "1"), strict=True):
        assert figures(job) == figures(alone / f"{same}_small_plain")
        assert record(job)["device"]["world_size"] == size
    assert [counts(job) for job in jobs] == [(501, 502), (0, 2), (1003, 0), (2, 0)]
    assert record(jobs[0])["timing"]["texts_encoded"] == 100
    # but for rank 0 nobody writes or speaks
    assert {path.name for path in msrun.folder.iterdir()} == {"home", "log", "outputs", "sweep", "main.py"}
    assert len(list((msrun.folder / "sweep").glob("?_small_plain*"))) == 4
    assert len((msrun.folder / "outputs" / "index.csv").read_text().splitlines()) == 5
    assert "| small | " in msrun.log("worker_0")
    for rank in range(1, size):
        ours = [line for line in msrun.log(f"worker_{rank}").splitlines() if "DISTRIBUTED" not in line]
        assert ours == []


def test_predict_over_ranks_gives_the_files_of_one_process(
    msrun: Msrun, zeroshot: Command, arguments: list[str]
) -> None:
    for place, pixels in enumerate(pictures(16)):
        path = msrun.folder / ("two" if place < 2 else "photos") / f"{place:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    (msrun.folder / "photos" / "07.png").write_text("no image")
    asked = [*arguments, "-m", "stage=predict", "stage.labels=[cat,dog,car]", "stage.top_k=2", "stage.cache=false"]
    asked += ["stage.images=photos,two", "device.batch_size=4"]
    assert zeroshot(*asked, "hydra.sweep.dir=alone").returncode == 1
    done = msrun(4, *asked, "hydra.sweep.dir=many")
    assert done.returncode == 1
    for job in ("0_small_plain", "1_small_plain"):
        alone, many = (
            [(msrun.folder / name / job / file).read_bytes() for file in PREDICTIONS] for name in ("alone", "many")
        )
        assert alone == many
        assert counts(msrun.folder / "many" / job) == counts(msrun.folder / "alone" / job)
    assert "1 of 14 images could not be read" in msrun.log("worker_0")


def test_an_unreadable_part_is_its_rank_s_failure_and_the_next_job_of_a_sweep_runs(
    msrun: Msrun, arguments: list[str]
) -> None:
    for place, pixels in enumerate(pictures(14)):
        for root in ("bad", "good"):
            path = msrun.folder / root / ("cats" if place < 7 else "dogs") / f"{place:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (msrun.folder / "bad" / "dogs" / "13.png").write_bytes(path.read_bytes()[:60])
    given = ["-m", "dataset=image_folder", "dataset.root=bad,good", "device.batch_size=4", "hydra.sweep.dir=sweep"]
    done = msrun(3, *arguments, *given)
    assert done.returncode == 1
    failed, whole = (record(msrun.folder / "sweep" / f"{number}_small_plain") for number in (0, 1))
    assert failed["error"].startswith("rank 2: bad/dogs/13.png")
    assert "metrics" in whole
    assert msrun.log("worker_0").count(failed["error"]) >= 1
    assert failed["error"] in msrun.log("worker_2")
    assert "13.png" not in msrun.log("worker_1")
    again = msrun(2, *arguments, *given)  # the same sweep over another number of ranks: what is done is not done anew
    assert again.returncode == 1
    assert "done already" in again.stdout
    assert record(msrun.folder / "sweep" / "1_small_plain") == whole
    assert record(msrun.folder / "sweep" / "0_small_plain-2")["error"].startswith("rank 1: bad/dogs/13.png")


def process_of(msrun: "subprocess.Popen[str]", rank: int) -> int:
    """The process of a rank that msrun has started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            surroundings = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == msrun.pid and {b"MS_ROLE=MS_WORKER", b"MS_NODE_ID=%d" % rank} <= set(surroundings):
            return int(folder.name)
    raise AssertionError(f"rank {rank} does not run")


def test_a_killed_rank_ends_the_run_and_the_next_start_goes_on_from_the_store(
    msrun: Msrun, arguments: list[str]
) -> None:
    given = [*arguments, "dataset=shapes", "dataset.size=3000"]
    process = msrun.start(3, *given, "hydra.run.dir=killed")
    end = time.monotonic() + 120
    while not stored(msrun.folder / "home") and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    killed = process_of(process, 2)
    os.kill(killed, signal.SIGKILL)
    out, _ = process.communicate(timeout=60)
    line = f"rank 2 (process {killed} on {socket.gethostname()}) was killed or ended: start the same command again"
    assert process.returncode == 1
    assert line in msrun.log("scheduler")
    assert line in out  # msrun shows it
    assert not (msrun.folder / "killed" / "predictions.csv").exists()
    done = msrun(2, *given, "-m", "stage.cache=true,false", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stdout + done.stderr
    again, whole = (msrun.folder / "sweep" / f"{number}_small_plain" for number in (0, 1))
    encoded, read = counts(again)
    assert read >= 240
    assert encoded + read == 3000
    assert figures(again) == figures(whole)


def test_a_rank_that_sees_other_data_ends_the_run(tmp_path: Path, arguments: list[str]) -> None:
    before = "import os, sys\nif os.environ.get('MS_NODE_ID') == '1':\n    sys.argv.append('dataset.seed=5')\n"
    msrun = Msrun(tmp_path, before)
    done = msrun(2, *arguments, "dataset=shapes", "dataset.size=10", "hydra.run.dir=out")
    assert done.returncode == 1
    assert record(tmp_path / "out")["error"].startswith("rank 1 has another data set than rank 0 (")


def test_a_rank_of_another_host_takes_its_part(msrun: Msrun, arguments: list[str], alone: Path) -> None:
    given = [*arguments, "dataset=shapes", "dataset.size=1003", "hydra.run.dir=out"]
    port = free_port()
    process = msrun.start(2, *given, local=1, options=("--node_rank=0", f"--master_port={port}"))
    # as the msrun of another host would start it; here one would start a second scheduler
    place = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "MS_SCHED_HOST": HOST, "MS_SCHED_PORT": str(port)}
    place |= {"MS_NODE_ID": "1", "RANK_ID": "1", "DEVICE_ID": "0", "ZEROSHOT_HOME": str(msrun.folder / "other")}
    surroundings = {**os.environ, **place, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "zeroshot", *given]
    assert subprocess.run(command, cwd=msrun.folder, env=surroundings, timeout=250, check=False).returncode == 0
    out, err = process.communicate(timeout=250)
    assert process.returncode == 0, out + err
    assert figures(msrun.folder / "out") == figures(alone / "0_small_plain")
    assert stored(msrun.folder / "home")
    assert stored(msrun.folder / "other")


def test_a_taken_port_and_two_runs_on_one_are_told(msrun: Msrun, arguments: list[str]) -> None:
    port = f"--master_port={free_port()}"
    first = msrun.start(1, *arguments, "dataset=shapes", "dataset.size=3000", options=(port,), log="first")
    while not list(msrun.folder.glob("outputs/*/*")):
        assert first.poll() is None
        time.sleep(0.05)
    second = msrun(1, *arguments, "dataset=shapes", options=(port,))
    assert second.returncode == 1
    assert "choose another port with --master_port=PORT" in msrun.log("scheduler")
    assert "serves another run" in msrun.log("worker_0")
    out, err = first.communicate(timeout=250)
    assert first.returncode == 0, out + err


def test_a_wrong_worker_num_is_told(msrun: Msrun, arguments: list[str]) -> None:
    done = msrun(3, *arguments, local=2)
    assert done.returncode == 1
    assert "--worker_num and --local_worker_num must be equal" in done.stdout
    done = msrun(3, *arguments, local=2, options=("--node_rank=0", "--cluster_time_out=3"))
    assert done.returncode == 1
    assert "2 of 3 ranks have joined" in msrun.log("scheduler")
    assert "missing 2: --worker_num must be the sum" in msrun.log("worker_0")
