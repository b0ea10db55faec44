"""Two runs side by side: what differs in their config, their metrics and their classes."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zeroshot.errors import ZeroshotError
from zeroshot.runs import record as run_record
from zeroshot.runs import terminal
from zeroshot.runs.folder import PER_CLASS, PREDICTIONS
from zeroshot.runs.record import Record
from zeroshot.runs.terminal import Column
from zeroshot.scoring.metrics import Metrics

ABSENT = "–"


def format_comparison(first: Path, second: Path) -> str:
    """Both runs as text, the first as A and the second as B, in tables of what differs.

    Raises:
        ZeroshotError: one of the folders has no run, or a file in it can't be read.
    """
    records = [_record(folder) for folder in (first, second)]
    sides = [Column(side, right=False, long=True) for side in "AB"]
    parts = [f"A: {first}\nB: {second}\n", _part("config", sides, _config(*records))]
    if any("metrics" not in record for record in records):
        for name, record in zip("AB", records, strict=True):
            if "metrics" not in record:
                parts.append(f"{name} has no metrics: {record.get('error', 'it is not an evaluation')}\n")
        return "\n".join(parts)
    if records[0]["dataset"]["fingerprint"] != records[1]["dataset"]["fingerprint"]:
        parts.append("A and B were evaluated on different images or classes: their metrics are not compared\n")
        return "\n".join(parts)
    figures = [Column("A"), Column("B"), Column("difference")]
    parts.append(_part("metrics", figures, _metrics(*records)))
    parts.append(_part("recall by class", figures, _classes(first, second)))
    ours, theirs = (_column(folder / PREDICTIONS, "index", "prediction_id") for folder in (first, second))
    shared = ours.keys() & theirs.keys()
    if len(shared) < max(len(ours), len(theirs)):
        parts.insert(2, f"A has {len(ours)} images, B has {len(theirs)}, {len(shared)} are in both\n")
    flips = sum(ours[index] != theirs[index] for index in shared)
    parts.append(f"{flips} of {len(shared)} images of both runs have different predictions\n")
    return "\n".join(parts)


def _record(folder: Path) -> Record:
    record = run_record.read_record(folder)
    if record is None:
        raise ZeroshotError(f"{folder} has no run: give two run folders with stage.compare='[FOLDER,FOLDER]'")
    return record


def _part(title: str, columns: list[Column], lines: list[list[str]]) -> str:
    if not lines:
        return f"{title}: no difference\n"
    named = [Column(title, right=False), *columns]
    colours = [""] * len(lines) if terminal.coloured() else ()
    return terminal.draw(named, lines, colours, terminal.width_of_stdout())


def _config(first: Record, second: Record) -> list[list[str]]:
    """The keys with different values, and the digests and versions that the config does not show."""
    flat = []
    for record in (first, second):
        keys = _flat(record["config"]) | {f"version of {name}": text for name, text in record["versions"].items()}
        if "metrics" in first and "metrics" in second:
            keys["weights (sha256)"] = record["model"]["weights"]["sha256"][:16]
            keys["images (fingerprint)"] = str(record["dataset"]["fingerprint"])[:16]
        flat.append(keys)
    return [
        [key, *(str(keys.get(key, ABSENT)) for keys in flat)]
        for key in dict.fromkeys([*flat[0], *flat[1]])
        if flat[0].get(key, ABSENT) != flat[1].get(key, ABSENT)
    ]


def _metrics(first: Record, second: Record) -> list[list[str]]:
    """All metrics and the speed: fractions in percent, with the difference B - A."""
    lines = []
    for key in Metrics.__dataclass_fields__:
        values = [record["metrics"][key] for record in (first, second)]
        fraction = key != "correct"
        lines.append([key.replace("_", " "), *_with_difference(values, fraction)])
    for key in ("images_per_s", "total_s"):
        lines.append(
            [key.replace("_", " "), *_with_difference([each["timing"][key] for each in (first, second)], False)]
        )
    return lines


def _classes(first: Path, second: Path) -> list[list[str]]:
    """The classes with different recalls, the greatest differences first; both runs have the same classes."""
    recalls = [_column(folder / PER_CLASS, "id", "recall") for folder in (first, second)]
    found = []
    for id, name in _column(first / PER_CLASS, "id", "class").items():
        try:
            values = [float(each[id]) if each.get(id) else None for each in recalls]
        except ValueError as error:
            raise ZeroshotError(f"{PER_CLASS} of {first} or {second}: a recall of {name} is not a number") from error
        if values[0] != values[1]:
            distance = abs(values[1] - values[0]) if values[0] is not None and values[1] is not None else 2.0
            found.append((-distance, [name, *_with_difference(values, True)]))
    return [line for _, line in sorted(found, key=lambda each: each[0])]


def _with_difference(values: list[Any], fraction: bool) -> list[str]:
    factor, places = (100, 2) if fraction else (1, 0 if all(isinstance(value, int) for value in values) else 1)
    texts = [ABSENT if value is None else f"{factor * value:.{places}f}" for value in values]
    known = all(value is not None for value in values)
    return [*texts, f"{factor * (values[1] - values[0]):+.{places}f}" if known else ABSENT]


def _flat(config: Mapping[str, Any], above: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{above}{key}.")
        else:
            found[above + key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found


def _column(path: Path, key: str, column: str) -> dict[str, str]:
    """One column of a CSV file by another."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {line[key]: line[column] for line in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise ZeroshotError(f"{path} can't be read ({error}): run the evaluation again") from error
