"""MindSpore's workers stay on cores of their own once an image has been encoded."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.drawn import SMALL, draw
from zeroshot.models import cores
from zeroshot.models.encoder import Encoder

pytestmark = pytest.mark.skipif(not cores.TASKS.is_dir(), reason="threads are pinned on Linux alone")


def workers() -> list[int]:
    return [int(task.name) for task in cores.TASKS.iterdir() if (task / "comm").read_text().startswith(cores.WORKERS)]


def test_each_worker_has_a_core_of_its_own_after_an_image() -> None:
    Encoder(SMALL, draw(SMALL)).encode_image([np.zeros((8, 8, 3), np.uint8)])
    allowed = os.sched_getaffinity(0)
    if len(workers()) != len(allowed):
        pytest.skip(f"MindSpore has {len(workers())} workers here for {len(allowed)} cores")
    assert sorted(os.sched_getaffinity(worker) for worker in workers()) == sorted({core} for core in allowed)


def test_workers_stay_free_where_there_are_more_cores_than_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[int] = []
    for task, name in ((11, "ActorThread_0"), (12, "KernelThread_0"), (13, "python")):
        (tmp_path / str(task)).mkdir()
        (tmp_path / str(task) / "comm").write_text(f"{name}\n")
    monkeypatch.setattr(cores, "TASKS", tmp_path)
    monkeypatch.setattr(os, "sched_setaffinity", lambda task, _: moved.append(task))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    cores.pin_workers()
    assert not moved
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    cores.pin_workers()
    assert moved == [11, 12]
