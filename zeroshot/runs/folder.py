"""The folder of a run: its file names, its lock, and files that are written whole or not at all."""

import csv
import io
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from zeroshot.errors import ZeroshotError
from zeroshot.interrupts import uninterrupted

if TYPE_CHECKING:
    from filelock import BaseFileLock

RECORD = "result.json"
LOCK = "run.lock"
LOG = "zeroshot.log"
HYDRA = ".hydra"
PREDICTIONS = "predictions.csv"
PER_CLASS = "per_class.csv"
CONFUSION = "confusion.csv"
PREDICTION_TEXT = "results.txt"
PREDICTION_LINES = "predictions.jsonl"
PAGE = "report.html"
FIGURES = "figures"
SURROGATES = "backslashreplace"  # how a file name's bytes that are not UTF-8 are written; in JSON it is an escape
TABLE = "table.csv"  # which makes a folder a sweep's
# a folder with any of these is never used for a new run, which would replace them
REPLACED = (RECORD, LOG, HYDRA, PREDICTIONS, PER_CLASS, CONFUSION, PREDICTION_TEXT, PREDICTION_LINES, PAGE, FIGURES)

log = logging.getLogger(__name__)

_locks: dict[Path, "BaseFileLock"] = {}  # the folders that this process holds
_locks_guard = threading.Lock()


def claim(folder: Path) -> Path:
    """Creates and locks the folder, or the next free `-2`, `-3`: one without a run and without files of its names.

    The lock is held until `release`, or until this process ends.

    Raises:
        ZeroshotError: the folder can't be created or written.
    """
    tried, number = folder.absolute(), 1
    folder = tried
    while not _claim_exactly(tried):
        number += 1
        tried = folder.with_name(f"{folder.name}-{number}")
    return tried


def take_over(folder: Path) -> bool:
    """Locks the folder of a run that died without a record; False if its run is alive or has left its record.

    The files that it had not finished writing are removed.
    """
    if not _lock(folder):
        return False
    if (folder / RECORD).exists():
        release(folder)
        return False
    for unfinished in folder.glob(".*.part"):
        unfinished.unlink(missing_ok=True)
    return True


def holds(folder: Path) -> bool:
    """Whether this process has locked the folder."""
    with _locks_guard:
        return folder.absolute() in _locks


def release(folder: Path) -> None:
    """Unlocks a folder that this process holds."""
    with uninterrupted(), _locks_guard:
        lock = _locks.pop(folder.absolute(), None)
        if lock is not None:
            (folder / LOCK).unlink(missing_ok=True)  # while it is held: whoever waits for it checks the folder again
            lock.release()


def release_all() -> None:
    """Unlocks every folder that this process holds: an interrupt may come before a run has begun in its folder."""
    for folder in list(_locks):
        release(folder)


def _claim_exactly(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any((folder / name).exists() for name in REPLACED) or not _lock(folder):
            return False
    except OSError as error:
        raise ZeroshotError(f"{folder}: can't be written ({error.strerror or error}): choose another folder") from error
    if any((folder / name).exists() for name in REPLACED):  # a run that ended before we had the lock
        release(folder)
        return False
    return True


def _lock(folder: Path) -> bool:
    """Takes the folder's lock without waiting.

    It is an advisory lock of the operating system (flock), which ends with the process that holds it, in whatever
    container that runs, and which hosts that share a disk see as far as its file system supports that.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    key = folder.absolute()
    with uninterrupted(), _locks_guard:
        if key in _locks:
            return False
        lock: BaseFileLock = FileLock(key / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        except NotImplementedError:
            log.warning("%s: its file system has no locks; a run that is killed leaves %s there", folder, LOCK)
            lock = SoftFileLock(key / LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
        _locks[key] = lock
        return True


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file that gets its name once the block ends, and is removed if the block fails."""
    with _unfinished(path) as part, part.open("w", encoding="utf-8", errors=SURROGATES, newline="") as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with whole_file(path) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with _unfinished(path) as part:
        part.write_bytes(content)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV file with `\\n` line ends, whole or not at all."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, buffer.getvalue())


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
