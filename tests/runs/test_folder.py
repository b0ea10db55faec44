"""Run folders are never shared or overwritten, locks end with their process, and files are whole."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.conftest import ROOT
from zeroshot.errors import ZeroshotError
from zeroshot.runs import folder as run_folder

CLAIM = (
    "import pathlib, sys; from zeroshot.runs.folder import claim; "
    "print(claim(pathlib.Path(sys.argv[1])).name, flush=True)"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_claimed_folder_is_held_until_it_is_released(folder: Path) -> None:
    assert run_folder.claim(folder) == folder
    assert run_folder.holds(folder)
    assert run_folder.claim(folder).name == "run-2"
    run_folder.release(folder)
    assert not run_folder.holds(folder)
    assert not (folder / run_folder.LOCK).exists()
    assert run_folder.claim(folder) == folder
    for name in ("run", "run-2"):
        run_folder.release(folder.with_name(name))


@pytest.mark.parametrize("name", run_folder.REPLACED)
def test_a_folder_with_a_file_that_a_run_would_replace_is_not_used(folder: Path, name: str) -> None:
    folder.mkdir()
    (folder / name).write_text("the user's own")
    claimed = run_folder.claim(folder)
    assert claimed.name == "run-2"
    assert (folder / name).read_text() == "the user's own"
    run_folder.release(claimed)


def test_a_folder_with_other_files_is_used(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").touch()
    assert run_folder.claim(folder) == folder
    run_folder.release(folder)


def test_processes_that_start_together_get_a_folder_each(folder: Path) -> None:
    code = CLAIM + "; input()"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    names = sorted(process.stdout.readline().strip() for process in started if process.stdout)
    for process in started:
        process.communicate("\n")
    assert names == ["run", *(f"run-{number}" for number in range(2, 7))]


def test_threads_that_start_together_get_a_folder_each(folder: Path) -> None:
    claimed: list[Path] = []
    threads = [threading.Thread(target=lambda: claimed.append(run_folder.claim(folder))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(claimed)) == 8
    for path in claimed:
        run_folder.release(path)


def test_the_folder_of_a_living_process_is_not_taken_over(folder: Path) -> None:
    command = [sys.executable, "-c", CLAIM + "; input()", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert not run_folder.take_over(folder)
        process.communicate("\n")
    assert run_folder.take_over(folder)
    run_folder.release(folder)


def test_the_folder_of_a_killed_process_is_taken_over_without_what_it_left_unfinished(folder: Path) -> None:
    command = [sys.executable, "-c", CLAIM + "; input()", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    (folder / ".predictions.csv.123.part").touch()
    assert run_folder.take_over(folder)
    assert [path.name for path in folder.iterdir()] == [run_folder.LOCK]
    run_folder.release(folder)


def test_a_finished_run_is_not_taken_over(folder: Path) -> None:
    folder.mkdir()
    (folder / run_folder.RECORD).write_text("{}")
    assert not run_folder.take_over(folder)
    assert not run_folder.holds(folder)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ZeroshotError, match=r"file/run: can't be written .*choose another folder"):
        run_folder.claim(tmp_path / "file" / "run")


def write_half(path: Path) -> None:
    with run_folder.whole_file(path) as file:
        file.write("new")
        raise RuntimeError


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    run_folder.write_text(path, "old")
    with pytest.raises(RuntimeError):
        write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_current_folder_is_claimed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    claimed = run_folder.claim(Path())
    (claimed / run_folder.RECORD).write_text("{}")
    run_folder.release(claimed)
    other = run_folder.claim(Path())
    run_folder.release(other)
    assert (claimed, other) == (tmp_path / "here", tmp_path / "here-2")
