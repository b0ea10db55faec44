"""The folder of a run: its name, who holds it, and files that are written whole or not at all."""

import csv
import io
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from zeroshot.errors import ZeroshotError

RECORD = "result.json"
LOCK = "run.lock"
RECORDS = (RECORD, "results.txt")  # either makes a folder a finished run's


def claim(folder: Path, config_digest: str | None = None) -> Path:
    """The folder, or the next free `-2`, `-3`, made and locked for this process: never one with another run in it."""
    tried = folder
    number = 1
    while not lock(tried, config_digest):
        number += 1
        tried = folder.with_name(f"{folder.name}-{number}")
    return tried


def lock(folder: Path, config_digest: str | None = None) -> bool:
    """Makes and locks a folder; False if another run's record or lock lies in it, True if this process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump(_this_process(config_digest), file)
    except FileExistsError:
        return _is_ours(lock_owner(folder))
    except OSError as error:
        raise ZeroshotError(f"{folder}: can't write there ({error.strerror}): choose hydra.run.dir=FOLDER") from error
    if any((folder / record).exists() for record in RECORDS):
        path.unlink()
        return False
    return True


def take_over(folder: Path, config_digest: str) -> bool:
    """Locks the folder of a run of this config which a process of this machine died in; False if it is no such folder.

    Two processes must not ask this at the same time: hold a lock of your own meanwhile.
    """
    owner = lock_owner(folder)
    if owner is None or owner.get("config_digest") != config_digest or (folder / RECORD).exists():
        return False
    if owner.get("host") != socket.gethostname() or _born(owner["pid"]) == owner.get("born"):  # it may still run
        return False
    for leftover in folder.glob(f".*.{owner['pid']}"):  # files that it had not written whole
        leftover.unlink(missing_ok=True)
    write(folder / LOCK, json.dumps(_this_process(config_digest)))
    return True


def lock_owner(folder: Path) -> dict[str, Any] | None:
    """Who holds a folder, `{host, pid, born, started, config_digest}`; None if nobody does."""
    try:
        owner = json.loads((folder / LOCK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return owner if isinstance(owner, dict) else None


def _this_process(config_digest: str | None) -> dict[str, Any]:
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "born": _born(pid),
        "started": now(),
        "config_digest": config_digest,
    }


def _is_ours(owner: Mapping[str, Any] | None) -> bool:
    """Whether a lock is this process's: of no other, not even of an earlier one with the same number."""
    ours = _this_process(None)
    return owner is not None and all(owner.get(key) == ours[key] for key in ("host", "pid", "born"))


def _born(pid: int) -> str | None:
    """When a process of this machine began, where the system tells, or an empty text; None if it doesn't run."""
    if Path("/proc/self/stat").exists():
        try:
            state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return None if state in ("Z", "X") else fields[18]
    if os.name == "nt":  # a signal of 0 would not ask there, but interrupt
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def unlock(folder: Path) -> None:
    """Gives a folder up, its record written."""
    (folder / LOCK).unlink(missing_ok=True)


@contextmanager
def whole(path: Path, errors: str = "strict") -> Iterator[TextIO]:
    """A text file to write to, there whole once the block ends and not at all if it fails; `errors` as in `open`."""
    with _unfinished(path) as temporary, temporary.open("w", encoding="utf-8", errors=errors, newline="") as file:
        yield file


def write(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with whole(path) as file:
        file.write(text)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with _unfinished(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Where to write what gets its own name once the block ends, and goes if it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV file with `\\n` at its lines' ends, whole or not at all."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write(path, buffer.getvalue())


def now() -> str:
    """The time as records tell it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
