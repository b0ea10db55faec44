"""The record of a run: its folder, its files, and the published figures beside its own."""

import csv
import hashlib
import io
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any, TextIO

from omegaconf import OmegaConf

from zeroshot import __version__
from zeroshot.classify import Ranking
from zeroshot.data.image_set import ImageSet
from zeroshot.errors import ZeroshotError
from zeroshot.metrics import TOP, confusion

SCHEMA = 1
RECORD = "result.json"
LOCK = "run.lock"
RECORDS = (RECORD, "results.txt")  # either makes a folder a finished run's

Record = dict[str, Any]


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
    if owner is None or owner.get("config_digest") != config_digest or read_record(folder) is not None:
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


def write_record(folder: Path, record: Record) -> None:
    """Writes `result.json`, with the time: the last file of a run, so that a folder which has it is complete."""
    record = record | {"finished": now()}
    write(folder / RECORD, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(folder: Path) -> Record | None:
    """The record in a folder, or None if there is none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def done(folder: Path, config_digest: str) -> bool:
    """Whether a folder holds the complete record of a run of this config."""
    record = read_record(folder)
    return record is not None and "error" not in record and record["config_digest"] == config_digest


def now() -> str:
    """The time as records tell it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def digest(config: Mapping[str, Any]) -> str:
    """What tells one resolved config from another, in 16 hex digits."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def start_record(config: Mapping[str, Any], overrides: Sequence[str]) -> Record:
    """The keys that every record has, failed or not, from before the work starts."""
    return {
        "schema": SCHEMA,
        "stage": config["stage"]["name"],
        "config": dict(config),
        "config_digest": digest(config),
        "versions": versions(),
        "overrides": list(overrides),
    }


def versions() -> dict[str, str]:
    """Versions of this package and of those that numbers hang on."""
    import platform

    found = {"zeroshot": __version__, "python": platform.python_version()}
    for package in ("mindspore", "numpy", "pillow", "hydra-core", "ftfy", "regex"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def write_evaluation(folder: Path, data: ImageSet, ranking: Ranking) -> None:
    """Writes `predictions.csv`, `per_class.csv` and `confusion.csv`, in data-set and class order."""
    names = data.classes
    rows = zip(data.indices, data.labels, ranking.ids, ranking.probabilities, strict=True)
    write_csv(
        folder / "predictions.csv",
        ("index", "label", "prediction", "score", "top5"),
        (
            (index, names[label], names[ids[0]], f"{scores[0]:.6f}", "|".join(names[i] for i in ids[:TOP]))
            for index, label, ids, scores in rows
        ),
    )
    counts = confusion(data.labels, ranking.ids[:, 0], len(names))
    predicted = counts.sum(axis=0)
    write_csv(
        folder / "per_class.csv",
        ("class", "images", "correct", "recall", "predicted"),
        (
            (name, row.sum(), row[i], f"{row[i] / row.sum():.6f}" if row.sum() else "", predicted[i])
            for i, (name, row) in enumerate(zip(names, counts, strict=True))
        ),
    )
    write_csv(
        folder / "confusion.csv",
        ("label", *names),
        ((name, *row) for name, row in zip(names, counts.tolist(), strict=True)),
    )


def references(
    model: Mapping[str, Any],
    data: Mapping[str, Any],
    prompt: Mapping[str, Any],
    top1: float,
    templates_of: Callable[[str], Sequence[str]],
) -> list[dict[str, Any]]:
    """Published figures of exactly this work, as fractions of 1, with our distance from each; mostly there are none.

    `model`, `data` and `prompt` are the record's, of a whole test split; `templates_of` tells a named prompt set's.
    """
    found = []
    for entry in published():
        percent = entry["top1"].get(model["weights"]["identity"])
        same_work = (
            data["name"] == entry["dataset"]
            and data["size"] == entry["images"]
            and data["labels"] == "fine"
            and list(prompt["templates"]) == list(templates_of(entry["prompt"]))
            and prompt["class_names"] == entry["class_names"]
            and model["interpolation"] == entry["interpolation"]
        )
        if same_work and percent is not None:
            figure = round(percent / 100, 6)
            found.append({"source": entry["source"], "top1": figure, "delta": round(top1 - figure, 6)})
    return found


def published() -> list[dict[str, Any]]:
    """What others published, from `published.yaml`: source, protocol, and top-1 in percent by model."""
    listed = OmegaConf.to_container(OmegaConf.load(str(files("zeroshot") / "published.yaml")))
    assert isinstance(listed, list)
    return listed
