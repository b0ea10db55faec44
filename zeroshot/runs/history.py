"""The runs over time: `outputs/index.csv`, a line each as it ends, and the table of it."""

import csv
import logging
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from zeroshot.errors import ZeroshotError
from zeroshot.runs import record as run_record
from zeroshot.runs import table, terminal
from zeroshot.runs.terminal import Column

log = logging.getLogger(__name__)

ROOT = Path("outputs")
FILE = "index.csv"
COLUMNS = (
    "finished",
    "stage",
    "model",
    "dataset",
    "prompt",
    "images",
    "top1",
    "top5",
    "mean_per_class_recall",
    "images_per_s",
    "total_s",
    "status",
    "folder",
    "config_digest",
)
SHOWN = {
    "finished": Column("finished (UTC)", right=False),
    "stage": Column("stage", right=False, goes=6),
    "model": Column("model", right=False),
    "dataset": Column("dataset", right=False, goes=2),
    "prompt": Column("prompt", right=False, goes=1),
    "images": Column("images", goes=5),
    "top1": Column("top-1"),
    "top5": Column("top-5", goes=4),
    "images_per_s": Column("images/s", goes=7),
    "total_s": Column("seconds", goes=8),
    "status": Column("status", right=False, long=True),
    "folder": Column("folder", right=False, goes=3),
}

Line = dict[str, str]


def add(folder: Path, root: Path = ROOT) -> None:
    """Adds the line of the run that left its record in a folder, failed or not; runs that end together wait in turn.

    The folder is told from the root where it lies below it. What keeps the line from being written is a warning.
    """
    record = run_record.read_record(folder)
    if record is None:
        return
    row = table.row(folder, record) | {"finished": record["finished"], "stage": record["stage"]}
    whole, base = folder.absolute(), root.absolute()
    row["folder"] = whole.relative_to(base).as_posix() if whole.is_relative_to(base) else str(whole)
    if row["stage"] != "eval":
        row["dataset"] = None  # it was composed, and played no part
    from filelock import FileLock

    path = root / FILE
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".index.lock"), path.open("a+", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(COLUMNS)
            elif _cut_short(path):
                file.write("\n")
            writer.writerow("" if row[column] is None else row[column] for column in COLUMNS)
    except OSError as error:
        log.warning("%s: this run's line can't be written (%s)", path, error.strerror or error)


def read(root: Path) -> list[Line]:
    """The lines of an index, the newest first.

    Raises:
        ZeroshotError: there is none, or it is no index of ours.
    """
    path = root / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restkey="more", restval=None)
            lines = [dict(line) for line in reader]
            header = reader.fieldnames or []
    except FileNotFoundError as error:
        raise ZeroshotError(
            f"{path} is not there: no run has ended yet; set stage.root to where the runs lie"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ZeroshotError(f"{path} can't be read as CSV ({error}): remove it") from error
    if not set(COLUMNS) <= set(header):
        raise ZeroshotError(f"{path} has not the columns of an index: move it away")
    whole = [line for line in lines if "more" not in line and None not in line.values()]
    if len(whole) < len(lines):
        log.warning("%s: %d lines are not whole and left out", path, len(lines) - len(whole))
    return sorted(whole, key=lambda line: line["finished"])[::-1]


def chosen(lines: Sequence[Line], wanted: dict[str, Sequence[str] | None]) -> list[Line]:
    """The lines whose model, data set and prompt are among those wanted; `*` stands for any letters."""
    return [
        line
        for line in lines
        if all(
            patterns is None or any(fnmatchcase(line[column], pattern) for pattern in patterns)
            for column, patterns in wanted.items()
        )
    ]


def told(lines: Sequence[Line]) -> str:
    """The lines as a table: fitted and coloured for a terminal, else whole and plain."""
    texts = [[_cell(line[column], column) for column in SHOWN] for line in lines]
    colours = [terminal.RED if line["status"] != table.OK else "" for line in lines]
    return terminal.draw(
        list(SHOWN.values()), texts, colours if terminal.coloured() else (), terminal.width_of_stdout()
    )


def _cell(text: str, column: str) -> str:
    if column == "finished":
        return text[:16].replace("T", " ")
    if column in ("top1", "top5", "images_per_s", "total_s"):
        with suppress(ValueError):  # there is none, or somebody wrote another text there: it is shown
            return table.cell(float(text), column)
    return text or "–"


def _cut_short(path: Path) -> bool:
    """Whether a file's last line lacks its end, since the process that wrote it was killed."""
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"
