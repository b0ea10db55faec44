"""The store of features: exact, whatever happens to its files, its disk and its processes."""

import errno
import hashlib
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.quick_encoder import KEY, WIDTH, feature, pictures
from zeroshot.features import store as feature_store
from zeroshot.features.extract import image_digests
from zeroshot.features.store import AT_RISK, FORMAT, SCATTERED, FeatureStore

Rows = dict[bytes, np.ndarray]


def drawn(count: int, seed: int = 0, width: int = WIDTH) -> Rows:
    """Random features by random digests."""
    numbers = np.random.default_rng(seed)
    return {numbers.bytes(32): numbers.standard_normal(width, np.float32) for _ in range(count)}


def store(root: Path, rows: Rows | None = None, **more: Any) -> FeatureStore:
    """A store under KEY by default, with these rows written to it."""
    opened = FeatureStore(root, **{"key": KEY, "width": WIDTH, **more})
    if rows:
        opened.add(list(rows), np.stack(list(rows.values())))
        opened.flush()
    return opened


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def same(found: Rows, expected: Rows) -> bool:
    return found.keys() == expected.keys() and all(found[each].tobytes() == expected[each].tobytes() for each in found)


@given(bits=st.lists(st.binary(min_size=12, max_size=12), min_size=1, max_size=20, unique=True), more=st.booleans())
@settings(max_examples=50, deadline=None)
def test_what_was_kept_comes_back_to_the_last_bit(
    bits: list[bytes], more: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("store")
    rows = {hashlib.sha256(each).digest(): np.frombuffer(each, "<f4") for each in bits}  # NaN and infinity among them
    store(root, rows, width=3)
    asked = [*rows, b"\0" * 32] if more else list(rows)[::2]
    assert same(store(root, width=3).read(asked), {each: rows[each] for each in asked if each in rows})


def test_a_store_of_another_key_is_another_store(tmp_path: Path) -> None:
    rows = drawn(5)
    store(tmp_path, rows)
    for key, width in (({**KEY, "dtype": "float16"}, WIDTH), ({"dtype": "float32"}, WIDTH), (KEY, WIDTH // 2)):
        assert store(tmp_path, key=key, width=width).read(rows) == {}
    assert same(store(tmp_path, key=dict(reversed(KEY.items()))).read(rows), rows)


def test_any_flipped_bit_and_any_cut_costs_features_and_never_alters_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, others = drawn(3), drawn(2, seed=1)
    store(tmp_path, rows)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    store(tmp_path, others)
    damaged = [
        whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :] for place in range(len(whole))
    ]
    damaged += [whole[:length] for length in range(0, len(whole), 5)] + [whole + b"\0", whole + whole]
    for content in damaged:
        path.write_bytes(content)
        caplog.clear()
        assert same(store(tmp_path).read([*rows, *others]), others)
        assert not path.exists()
        assert path.with_suffix(".aside").read_bytes() == content
        (message,) = caplog.messages
        assert message.startswith(f"{path} is ")
        assert "set aside" in message
    store(tmp_path, rows)
    assert same(store(tmp_path).read(rows), rows)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "another format"),
        (b"zeroshot image features 0\n", "another format"),
        (b"\x93NUMPY\x01\x00" * 100, "another format"),
        (FORMAT + b'{"dtype": "float16"}\n' + bytes(32 + 4 * WIDTH + 32), "another model or setting"),
    ],
)
def test_a_file_of_another_kind_is_set_aside(
    tmp_path: Path, content: bytes, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = drawn(4)
    foreign = store(tmp_path, rows).folder / f"foreign{feature_store.SUFFIX}"
    foreign.write_bytes(content)
    assert same(store(tmp_path).read(rows), rows)
    assert [part in message for message in caplog.messages] == [True]
    assert same(store(tmp_path).read(rows), rows)
    assert len(caplog.messages) == 1


def test_a_store_of_another_dtype_copied_into_this_one_is_not_used(tmp_path: Path) -> None:
    rows = drawn(4)
    half = store(tmp_path, rows, key={**KEY, "dtype": "float16"})
    ours = store(tmp_path)
    half.folder.rename(ours.folder)
    assert ours.read(rows) == {}
    assert [path.suffix for path in files(tmp_path)] == [".aside"]


@pytest.mark.parametrize("batch", [1, 7, 16, 48, 100, 256])
def test_never_more_than_256_images_are_at_risk(tmp_path: Path, batch: int) -> None:
    rows = drawn(700)
    opened = store(tmp_path)
    for start in range(0, 700, batch):
        digests = list(rows)[start : start + batch]
        held = len(store(tmp_path).read(rows))
        assert start + len(digests) - held <= AT_RISK  # while they are encoded
        opened.add(digests, np.stack([rows[each] for each in digests]))
    opened.flush()
    assert same(store(tmp_path).read(rows), rows)
    assert len(files(tmp_path)) <= 700 // (AT_RISK // 2) + 1


def test_what_is_slow_is_written_after_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    rows, opened = drawn(4), store(tmp_path)
    for place, digest in enumerate(rows):
        opened.add([digest], rows[digest][None])
        assert len(store(tmp_path).read(rows)) == (0, 0, 0, 4)[place]
        now += 25


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(file: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{file}"))
        fsync(file)

    def noted_replace(path: Path, target: Path) -> Path:
        synced.append("named")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    opened = store(tmp_path, drawn(3))
    assert synced[0].endswith(".part")
    assert synced[1:] == ["named", str(opened.folder), str(tmp_path)]


def test_the_store_stays_in_its_bounds_and_the_oldest_use_goes_first(tmp_path: Path) -> None:
    size = len(files_content(tmp_path / "one"))
    limit, root = 40 * size, tmp_path / "root"
    groups = [drawn(8, seed=seed) for seed in range(90)]
    used = groups[3]
    for age, rows in enumerate(groups):
        store(root, rows, limit=limit, key={**KEY, "model": age % 3})
        (new,) = [path for path in files(root) if path.stat().st_mtime > 1e6]
        os.utime(new, (age + 1, age + 1))
        assert sum(path.stat().st_size for path in files(root)) <= limit
        if age > 3:
            assert same(store(root, limit=limit, key={**KEY, "model": 0}).read(used), used)  # it is touched
            (touched,) = [path for path in files(root) if path.stat().st_mtime > 1e6]
            os.utime(touched, (age + 1.5, age + 1.5))
    held = [age for age, rows in enumerate(groups) if store(root, key={**KEY, "model": age % 3}).read(rows)]
    assert held == [3, *range(90 - len(held) + 1, 90)]
    assert len(held) >= 0.8 * 40


def files_content(root: Path) -> bytes:
    """A file of eight features."""
    store(root, drawn(8), key={**KEY, "model": 0})
    return files(root)[0].read_bytes()


def test_an_emptied_folder_goes_and_what_killed_processes_left_unfinished_too(tmp_path: Path) -> None:
    old = store(tmp_path, drawn(50), key={"model": "old"})
    os.utime(files(old.folder)[0], (1, 1))
    (old.folder / "x.1234.part").write_bytes(b"x")
    os.utime(old.folder / "x.1234.part", (1, 1))
    young = store(tmp_path).folder
    young.mkdir()
    (young / "y.1234.part").write_bytes(b"y")
    store(tmp_path, drawn(50), limit=10_000)
    assert not old.folder.exists()
    assert sorted(path.suffix for path in files(young)) == [".features", ".part"]


def test_many_small_files_become_one(tmp_path: Path) -> None:
    rows = drawn(SCATTERED + 6)
    for digest, row in rows.items():
        store(tmp_path, {digest: row})
    large = drawn(AT_RISK, seed=1)
    store(tmp_path, large)
    last = list(rows)[-1]
    assert same(store(tmp_path).read([last]), {last: rows[last]})
    assert len(files(tmp_path)) == 2
    assert same(store(tmp_path).read([*rows, *large]), rows | large)


def test_small_files_that_hold_the_same_become_one_of_them(tmp_path: Path) -> None:
    rows = drawn(5)
    for order in islice(permutations(rows), SCATTERED + 6):
        store(tmp_path, {digest: rows[digest] for digest in order})
    for _ in range(2):
        assert same(store(tmp_path).read(rows), rows)
        assert len(files(tmp_path)) == 1


def test_one_process_stays_in_the_bounds_too(tmp_path: Path) -> None:
    opened, taken = store(tmp_path, limit=50_000), []
    for seed in range(150):
        rows = drawn(8, seed)
        opened.add(list(rows), np.stack(list(rows.values())))
        opened.flush()
        taken.append(sum(path.stat().st_size for path in files(tmp_path)))
    assert 40_000 < max(taken) <= 50_000
    assert min(taken[100:]) > 40_000


def test_what_another_process_removes_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = drawn(3)
    opened = store(tmp_path, rows)
    there = files(tmp_path)
    monkeypatch.setattr(opened, "_files", lambda: [opened.folder / "gone.features", *there])
    assert same(opened.read(rows), rows)
    write, tries = feature_store._write_through, []

    def folder_goes(path: Path, content: bytes) -> None:
        tries.append(path)
        if len(tries) == 1:
            shutil.rmtree(path.parent)
        write(path, content)

    monkeypatch.setattr(feature_store, "_write_through", folder_goes)
    others = drawn(3, seed=1)
    store(tmp_path, others)
    assert same(store(tmp_path).read(others), others)
    assert caplog.messages == []


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_full_disk_costs_the_store_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: int
) -> None:
    before, rows = drawn(5, seed=1), drawn(900)
    store(tmp_path, before)

    def full(_: int) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "fsync", full)
    opened = store(tmp_path)
    for digest, row in rows.items():
        opened.add([digest], row[None])
    opened.flush()
    (message,) = caplog.messages
    assert os.strerror(fault) in message
    assert "stage.cache=false" in message
    assert len(files(tmp_path)) == 1  # nothing half-written stays
    assert same(store(tmp_path).read(before), before)


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_place_where_nothing_can_be_written_costs_the_store_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    rows = drawn(3)
    opened = store(tmp_path / place)
    with caplog.at_level(logging.WARNING):
        opened.read(rows)
        caplog.clear()
        opened.add(list(rows), np.stack(list(rows.values())))
        opened.flush()
    assert ["no longer kept" in message for message in caplog.messages] == [True]


def command(root: Path, images: int, seconds: float, *more: int) -> list[str]:
    return [sys.executable, "-m", "tests.quick_encoder", str(root), str(images), str(seconds), *map(str, more)]


def expected(images: int) -> str:
    """What such a process says of its features without any store."""
    return hashlib.sha256(b"".join(feature(each).tobytes() for each in pictures(images))).hexdigest()


def finished(process: "subprocess.Popen[bytes]") -> tuple[str, int, int, str]:
    """The digest, the counts, and what the process said on stderr."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    digest, encoded, read = out.splitlines()[-1].split()
    return digest.decode(), int(encoded), int(read), err.decode()


def test_twenty_kills_at_random_moments_lose_256_images_each_at_most_and_change_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("KILL_SEED") or time.time_ns() % 10**6)
    print(f"KILL_SEED={seed}")  # noqa: T201
    moments = random.Random(seed)
    images, batch = 20_000, 16
    digests = [each for each in image_digests(list(pictures(images))) if each]
    held, lives = 0, 0
    while lives < 20:
        process = subprocess.Popen(command(tmp_path, images, 0.008), cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."  # the first batch is done
        time.sleep(moments.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        done = process.stdout.read()
        process.wait()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed: give it more images"
        encoded = (1 + done.count(b".")) * batch
        found = store(tmp_path).read(digests)
        assert held + encoded - AT_RISK <= len(found) <= held + encoded
        assert found.keys() == set(digests[: len(found)])
        held, lives = len(found), lives + 1
    assert held > 0
    process = subprocess.Popen(command(tmp_path, images, 0), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert finished(process) == (expected(images), images - held, held, "")


@pytest.mark.parametrize("limit", [feature_store.LIMIT, 150_000])
def test_two_processes_at_once_are_both_right(tmp_path: Path, limit: int) -> None:
    """With a small limit each also removes what the other has written."""
    both = [
        subprocess.Popen(
            command(tmp_path, 3000, 0.001, limit), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in both:
        digest, encoded, read, err = finished(process)
        assert (digest, encoded + read, err) == (expected(3000), 3000, "")
    assert sum(path.stat().st_size for path in files(tmp_path)) <= limit + AT_RISK * 4 * WIDTH * 2
    process = subprocess.Popen(
        command(tmp_path, 3000, 0, limit), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    digest, encoded, read, err = finished(process)
    assert (digest, encoded + read, err) == (expected(3000), 3000, "")
    assert limit < feature_store.LIMIT or encoded == 0


def test_a_disk_that_takes_no_more_costs_the_store_and_not_the_run(tmp_path: Path) -> None:
    """The system itself refuses files over 20,000 bytes, when a part of each is written."""
    process = subprocess.Popen(
        command(tmp_path, 1000, 0, feature_store.LIMIT, 20_000),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    digest, encoded, _, err = finished(process)
    assert (digest, encoded) == (expected(1000), 1000)
    assert len(err.splitlines()) == 1
    assert "File too large" in err
    assert files(tmp_path) == []
