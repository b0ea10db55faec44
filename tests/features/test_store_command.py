"""The feature store through the command line: what is encoded, what is read, and that the figures don't know."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image

from tests.conftest import ROOT, Command
from tests.quick_encoder import pictures

FIGURES = ("predictions.csv", "per_class.csv", "confusion.csv")


def record(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return loaded


def counts(folder: Path) -> tuple[int, int]:
    timing = record(folder)["timing"]
    return timing["images_encoded"], timing["images_from_cache"]


def figures(folder: Path) -> list[bytes]:
    metrics = json.dumps(record(folder)["metrics"])
    return [metrics.encode(), *((folder / name).read_bytes() for name in FIGURES)]


def stored(home: Path) -> list[Path]:
    return sorted((home / "features").glob("*/*.features"))


def test_a_second_prompt_set_encodes_no_image_and_no_figure_changes(small: Command, tmp_path: Path) -> None:
    prompts, caches = "prompt=plain,photo,mindformers", "stage.cache=true,false"
    done = small("-m", "model=small", prompts, caches, "hydra.sweep.dir=sweep", "device.batch_size=5")
    assert done.returncode == 0, done.stderr
    jobs = sorted((tmp_path / "sweep").glob("?_small_*"))
    assert [counts(job) for job in jobs] == [(12, 0), (12, 0), (0, 12), (12, 0), (0, 12), (12, 0)]
    assert [record(job)["config"]["stage"]["cache"] for job in jobs] == [True, False] * 3
    for kept, computed in (jobs[:2], jobs[2:4], jobs[4:]):
        assert figures(kept) == figures(computed)
    assert record(jobs[0])["timing"]["images_per_s"] > 0
    assert record(jobs[2])["timing"]["images_per_s"] is None  # it is no rate of encoding
    assert len(stored(tmp_path / "home")) == 1

    # another process, damaged files, another size of batches
    (path,) = stored(tmp_path / "home")
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    path.write_bytes(content)
    done = small("model=small", "prompt=photo", "device.batch_size=5", "hydra.run.dir=damaged")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert str(path) in line
    assert "damaged" in line
    assert counts(tmp_path / "damaged") == (12, 0)
    assert figures(tmp_path / "damaged") == figures(jobs[3])
    done = small("-m", "model=small", "prompt=photo", "device.batch_size=5,6", "hydra.sweep.dir=again")
    assert done.stderr == ""
    assert [counts(job) for job in sorted((tmp_path / "again").glob("?_small_*"))] == [(0, 12), (12, 0)]
    assert figures(tmp_path / "again" / "0_small_photo") == figures(jobs[3])


def test_predict_reads_what_eval_has_encoded_and_the_other_way_round(small: Command, tmp_path: Path) -> None:
    for place, pixels in enumerate(pictures(14)):
        folder = tmp_path / "photos" / ("cats" if place < 7 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    data = ("model=small", "dataset=image_folder", f"dataset.root={tmp_path / 'photos'}", "prompt=plain")
    asked = ("model=small", "stage=predict", "stage.labels=[cat,dog]")
    assert small(*asked, "stage.images=photos/cats", "hydra.run.dir=first").returncode == 0
    done = small(*data, "hydra.run.dir=second")
    assert done.returncode == 0, done.stderr
    (tmp_path / "photos" / "cats" / "0.png").rename(tmp_path / "photos" / "z.png")
    (tmp_path / "photos" / "bad.png").write_text("no image")
    for name, cache in (("third", "true"), ("fourth", "false")):
        done = small(*asked, "stage.images=photos", f"hydra.run.dir={name}", f"stage.cache={cache}")
        assert done.stderr.splitlines() == ["1 of 15 images could not be read; the line of each says why"]
    assert counts(tmp_path / "first") == (7, 0)
    assert counts(tmp_path / "second") == (7, 7)
    assert counts(tmp_path / "third") == (0, 14)
    assert counts(tmp_path / "fourth") == (14, 0)
    third, fourth = ((tmp_path / name / "predictions.jsonl").read_bytes() for name in ("third", "fourth"))
    assert third == fourth
    assert "14 of 15 images are in the feature store" in (tmp_path / "third" / "zeroshot.log").read_text()


def test_a_home_where_nothing_can_be_written_costs_the_store_and_not_the_run(small: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = small("model=small", "hydra.run.dir=out", ZEROSHOT_HOME=str(tmp_path / "file"))
    assert done.returncode == 0
    assert all("image features" in line for line in done.stderr.splitlines())
    assert "no longer kept" in done.stderr
    assert counts(tmp_path / "out") == (12, 0)


def test_a_killed_run_goes_on_where_it_was_and_ends_as_one_that_was_not(
    zeroshot: Command, config_dir: Path, tmp_path: Path
) -> None:
    given = ["--config-dir", str(config_dir), "model=small", "dataset=shapes", "dataset.size=1500", "device=cpu"]
    given += ["prompt=plain", "device.batch_size=16"]
    home = {"ZEROSHOT_HOME": str(tmp_path / "home")}
    process = subprocess.Popen(
        [sys.executable, "-m", "zeroshot", *given, "hydra.run.dir=killed"],
        cwd=tmp_path,
        env={**os.environ, **home, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while not stored(tmp_path / "home") and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "predictions.csv").exists()
    assert zeroshot("-m", *given, "stage.cache=true,false", "hydra.sweep.dir=sweep", **home).returncode == 0
    again, whole = (tmp_path / "sweep" / f"{number}_small_plain" for number in (0, 1))
    encoded, read = counts(again)
    assert read >= 240  # what is kept at once: as many whole batches as 256 images hold
    assert encoded + read == 1500
    assert counts(whole) == (1500, 0)
    assert figures(again) == figures(whole)
