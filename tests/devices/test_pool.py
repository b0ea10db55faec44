"""Runs on several workers: the files of one process, to the byte, whatever happens to a worker; nothing is left."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, Command

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="pip install 'zeroshot-mindspore[ray]'"),
]

SHAPES = ("experiment=quickstart", "device=cpu", "dataset.seed=5")
Start = Callable[..., "subprocess.Popen[str]"]


def predictions(folder: Path) -> bytes:
    return (folder / "predictions.csv").read_bytes()


def test_any_number_of_workers_leaves_the_files_of_one_process(zeroshot_process: Command, tmp_path: Path) -> None:
    # jobs of the same count follow each other, and keep its workers
    options = ("device.count=1,2,3,4", "dataset.size=1003,2", "stage.cache=false", "hydra.sweep.dir=sweep")
    done = zeroshot_process("-m", *SHAPES, *options)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert done.stdout.count("starting Ray") == 1
    found = defaultdict(set)
    for path in (tmp_path / "sweep").glob("*/result.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["device"]["world_size"] == record["config"]["device"]["count"]
        found[record["dataset"]["size"]].add(predictions(path.parent))
    assert {size: len(files) for size, files in found.items()} == {1003: 1, 2: 1}


def test_a_store_filled_by_another_count_and_unreadable_images_change_nothing(
    zeroshot_process: Command, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (90, 32, 32, 3), np.uint8)
    for place, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "photos" / f"{place:02}.png")
    (tmp_path / "photos" / "40.png").write_text("not an image")
    labels = "stage.labels=[red circle,blue star]"
    given = ("model=clip_tiny", "stage=predict", labels, "device=cpu", "device.batch_size=4", "prompt=photo")
    assert zeroshot_process(*given, "stage.images='photos/[0-3]*.png'", "hydra.run.dir=some").returncode == 0
    for count, cache in ((1, "false"), (2, "true")):
        options = (f"device.count={count}", f"stage.cache={cache}", f"hydra.run.dir={count}")
        done = zeroshot_process(*given, "stage.images=photos", *options)
        assert done.returncode == 1
        assert "1 of 90 images could not be read" in done.stderr
    assert predictions(tmp_path / "1") == predictions(tmp_path / "2")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where a run puts Ray's files: a short path, as sockets need."""
    folder = tempfile.mkdtemp(prefix="zs")
    yield Path(folder)
    shutil.rmtree(folder)


@pytest.fixture
def start(tmp_path: Path, temporary: Path) -> Start:
    """Starts `python -m zeroshot` on 3,000 images."""
    surroundings = {"PYTHONPATH": str(ROOT), "ZEROSHOT_HOME": str(tmp_path / "home"), "TMPDIR": str(temporary)}

    def popen(*arguments: str) -> "subprocess.Popen[str]":
        options = ("dataset.size=3000", "device.batch_size=50", "device.count=2")
        return subprocess.Popen(
            [sys.executable, "-m", "zeroshot", *SHAPES, *options, *arguments],
            cwd=tmp_path,
            env={**os.environ, **surroundings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    return popen


def processes(pattern: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def wait_for_worker(process: "subprocess.Popen[str]", method: str) -> int:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if found := processes(f"^ray::Worker.{method}"):
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"no worker came to {method}: {process.communicate()[1]}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    options = ("dataset.size=3000", "device.batch_size=50", "stage.cache=false", "hydra.run.dir=run")
    command = [sys.executable, "-m", "zeroshot", *SHAPES, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZEROSHOT_HOME": str(folder / "home")}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return predictions(folder / "run")


def test_workers_that_are_killed_at_three_moments_change_nothing(
    start: Start, undisturbed: bytes, tmp_path: Path
) -> None:
    with start("stage.cache=false", "hydra.run.dir=run") as process:
        os.kill(wait_for_worker(process, "start"), signal.SIGKILL)
        for latest in (0.0, 1.0):
            wait_for_worker(process, "encode_images")
            time.sleep(random.uniform(0.0, latest))
            os.kill(wait_for_worker(process, "encode_images"), signal.SIGKILL)
        _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert re.fullmatch(r"(the worker on .* failed \(its process ended\): a new one takes over\n){3}", stderr)
    assert predictions(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_leader_that_ends_early_leaves_nothing_but_the_store_from_which_the_next_start_goes_on(
    ending: signal.Signals, start: Start, undisturbed: bytes, temporary: Path, tmp_path: Path
) -> None:
    with start("hydra.run.dir=first") as process:
        wait_for_worker(process, "encode_images")
        time.sleep(1.0)
        process.send_signal(ending)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == (130 if ending is signal.SIGINT else -ending)
    assert stderr == ("interrupted; finished work is kept\n" if ending is signal.SIGINT else "")
    if ending is signal.SIGKILL:
        with start("hydra.run.dir=second") as process:
            _, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, stderr
        assert predictions(tmp_path / "second") == undisturbed
    deadline = time.monotonic() + 30
    while left := [*temporary.iterdir(), *processes("^ray::|raylet|gcs_server")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_python_gets_the_features_of_one_encoder(tmp_path: Path) -> None:
    code = (
        "import numpy as np\n"
        "from zeroshot import load_model, pipeline\n"
        "images = np.random.default_rng(0).integers(0, 256, (70, 40, 30, 3), np.uint8)\n"
        "one, two = load_model('clip_tiny'), load_model('clip_tiny', device_count=2)\n"
        "assert np.array_equal(one.encode_image(images), two.encode_image(images))\n"
        "assert np.array_equal(one.encode_text(['a', 'b']), two.encode_text(['a', 'b']))\n"
        "given = {'model': 'clip_tiny', 'candidate_labels': ['red circle', 'blue star']}\n"
        "assert pipeline(**given)(images[0]) == pipeline(**given, device_count=2)(images[0])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True)


def test_a_cluster_that_is_not_there_and_a_missing_device_are_one_line(zeroshot_process: Command) -> None:
    done = zeroshot_process(*SHAPES, "device.count=2", "device.cluster='127.0.0.1:1'", "stage.cache=false")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "device.cluster=127.0.0.1:1" in done.stderr
