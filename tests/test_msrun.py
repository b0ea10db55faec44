"""Runs over several ranks through `msrun`: the same files as one process makes, and what happens when a rank fails.

`python -m pytest -m msrun`, on its own: the ordinary command leaves it out.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
        script = self.folder / "zeroshot.py"
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
    assert {path.name for path in msrun.folder.iterdir()} == {"home", "log", "outputs", "sweep", "zeroshot.py"}
    assert sum(path.is_dir() for path in (msrun.folder / "sweep").iterdir()) == 4
    assert len((msrun.folder / "outputs" / "index.csv").read_text().splitlines()) == 5
    assert "| small | " in msrun.log("worker_0")
    for rank in range(1, size):
        ours = [line for line in msrun.log(f"worker_{rank}").splitlines() if "DISTRIBUTED" not in line]
        assert ours == []
