"""What the tests through the command line share: a small model, a small CIFAR-100, and the command itself."""

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from safetensors.numpy import save_file

from tests.data.cifar_files import write_cifar100_python
from tests.drawn import SMALL, draw
from tests.tricks import Tricks

ROOT = Path(__file__).parents[1]
if "PYTEST_XDIST_WORKER" in os.environ:  # else each of them starts a thread for each core, and all wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.set_threshold(100_000)  # MindSpore's many objects take a while to look through
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn weights of `SMALL` in OpenAI's names."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(draw(SMALL), path)
    return path


@pytest.fixture(scope="session")
def config_dir(tmp_path_factory: pytest.TempPathFactory, small_weights: Path) -> Path:
    """A user's own folder with a model of a size that is no variant's: one YAML."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "model").mkdir()
    own = {"name": "small", **asdict(SMALL), "weights": {"path": str(small_weights)}}
    OmegaConf.save(own, folder / "model" / "small.yaml")
    return folder


@pytest.fixture(scope="session")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CIFAR-100 of 12 images and six classes."""
    return write_cifar100_python(tmp_path_factory.mktemp("data") / "cifar-100-python")


@pytest.fixture
def zeroshot(tmp_path: Path) -> Command:
    """`python -m zeroshot ARGUMENTS` in an empty folder, with a home of its own; output as text.

    It runs in this process, where MindSpore is imported once.
    """
    from tests.in_process import run_main  # imports MindSpore

    def command(*arguments: str, cwd: Path = tmp_path, **environment: str) -> "subprocess.CompletedProcess[str]":
        return run_main(arguments, cwd, {"ZEROSHOT_HOME": str(tmp_path / "home"), **environment})

    return command


@pytest.fixture
def zeroshot_process(tmp_path: Path) -> Command:
    """`zeroshot` as a process of its own, where the process is what is tested, or its import, or its surroundings."""

    def command(*arguments: str, cwd: Path = tmp_path, **environment: str) -> "subprocess.CompletedProcess[str]":
        surroundings = {**os.environ, "ZEROSHOT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), **environment}
        return subprocess.run(
            [sys.executable, "-m", "zeroshot", *arguments],
            cwd=cwd,
            env=surroundings,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )

    return command


@pytest.fixture
def small(zeroshot: Command, config_dir: Path, cifar: Path) -> Command:
    """The command with the small model on the small data set."""
    return partial(zeroshot, *small_arguments(config_dir, cifar))


@pytest.fixture
def small_process(zeroshot_process: Command, config_dir: Path, cifar: Path) -> Command:
    """`small` as a process of its own."""
    return partial(zeroshot_process, *small_arguments(config_dir, cifar))


def small_arguments(config_dir: Path, cifar: Path) -> list[str]:
    return ["--config-dir", str(config_dir), f"dataset.root={cifar}", "device=cpu", "device.batch_size=8"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a running server of tricks."""

    for name in ("NO_PROXY", "no_proxy"):  # no proxy of the surroundings stands between the tests and it
        monkeypatch.setenv(name, "127.0.0.1")

    class Running(Tricks):
        stopped = threading.Event()

    with ThreadingHTTPServer(("127.0.0.1", 0), Running) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        Running.stopped.set()
        running.shutdown()
        thread.join()
