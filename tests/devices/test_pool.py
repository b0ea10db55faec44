"""Several workers through Ray: the files of one process, to the byte, also when a worker is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, Command

pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="pip install 'zeroshot-mindspore[ray]'")

SHAPES = ("experiment=quickstart", "device=cpu", "dataset.size=1003", "dataset.seed=5")


def predictions(folder: Path) -> bytes:
    return (folder / "predictions.csv").read_bytes()


def test_any_number_of_workers_leaves_the_files_of_one_process(zeroshot: Command, tmp_path: Path) -> None:
    for count in (1, 2, 3):
        done = zeroshot(*SHAPES, f"device.count={count}", "stage.cache=false", f"hydra.run.dir={count}")
        assert done.returncode == 0, done.stderr
    assert predictions(tmp_path / "1") == predictions(tmp_path / "2") == predictions(tmp_path / "3")
    assert '"world_size": 3' in (tmp_path / "3" / "result.json").read_text(encoding="utf-8")


def test_a_half_filled_store_and_unreadable_images_change_nothing(zeroshot: Command, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (90, 32, 32, 3), np.uint8)
    for place, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "photos" / f"{place:02}.png")
    (tmp_path / "photos" / "40.png").write_text("not an image")
    labels = "stage.labels=[red circle,blue star]"
    given = ("model=clip_tiny", "stage=predict", labels, "device=cpu", "device.batch_size=4", "prompt=photo")
    assert zeroshot(*given, "stage.images='photos/[0-3]*.png'", "hydra.run.dir=some").returncode == 0
    for count, cache in ((1, "false"), (2, "true")):
        options = (f"device.count={count}", f"stage.cache={cache}", f"hydra.run.dir={count}")
        done = zeroshot(*given, "stage.images=photos", *options)
        assert done.returncode == 1
        assert "1 of 90 images could not be read" in done.stderr
    assert predictions(tmp_path / "1") == predictions(tmp_path / "2")


def test_a_killed_worker_is_replaced_and_its_blocks_are_encoded_again(zeroshot: Command, tmp_path: Path) -> None:
    assert zeroshot(*SHAPES, "stage.cache=false", "hydra.run.dir=one").returncode == 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZEROSHOT_HOME": str(tmp_path / "home")}
    options = ("device.count=2", "device.batch_size=50", "stage.cache=false", "hydra.run.dir=two")
    command = [sys.executable, "-m", "zeroshot", *SHAPES, *options]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        workers: list[int] = []
        while not workers and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
            listed = subprocess.run(["pgrep", "-f", "ray::_Worker"], capture_output=True, text=True, check=False)
            workers = [int(pid) for pid in listed.stdout.split()]
        assert workers, "no worker was started"
        os.kill(workers[0], signal.SIGKILL)
        _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert len(predictions(tmp_path / "two").splitlines()) == 1004


def test_more_devices_than_the_cluster_has_and_a_missing_cluster_are_one_line(zeroshot: Command) -> None:
    done = zeroshot(*SHAPES, "device.count=2", "device.cluster='127.0.0.1:1'", "stage.cache=false")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "device.cluster=127.0.0.1:1" in done.stderr
