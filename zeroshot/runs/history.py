"""The history of runs: `outputs/index.csv`, a line each as it ends, and its table."""

import csv
import logging
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from zeroshot.errors import ZeroshotError
from zeroshot.runs import record as run_record
from zeroshot.runs import table, terminal
from zeroshot.runs.folder import SURROGATES
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
    "overrides",
)
OPTIONAL = {"overrides"}  # columns that files of earlier versions lack
PRINTED = {
    "finished": Column("finished (UTC)", right=False),
    "stage": Column("stage", right=False, drop_priority=6),
    "model": Column("model", right=False),
    "dataset": Column("dataset", right=False, drop_priority=2),
    "prompt": Column("prompt", right=False, drop_priority=1),
    "overrides": Column("options", right=False, long=True),
    "images": Column("images", drop_priority=5),
    "top1": Column("top-1"),
    "top5": Column("top-5", drop_priority=4),
    "images_per_s": Column("images/s", drop_priority=7),
    "total_s": Column("seconds", drop_priority=8),
    "status": Column("status", right=False, long=True),
    "folder": Column("folder", right=False, drop_priority=3),
}

Line = dict[str, str]


def add(folder: Path, root: Path = ROOT) -> None:
    """Adds the line of the run that left its record in a folder, failed or not; runs that end together wait in turn.

    A folder below the root is written relative to it. A line that can't be written is a warning.
    """
    record = run_record.read_record(folder)
    if record is None:
        return
    row = table.row(folder, record) | {"finished": record["finished"], "stage": record["stage"]}
    whole, base = folder.absolute(), root.absolute()
    row["folder"] = whole.relative_to(base).as_posix() if whole.is_relative_to(base) else str(whole)
    if row["stage"] != "eval":
        row["dataset"] = None  # composed, but not used
    from filelock import FileLock

    path = root / FILE
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (
            FileLock(root / ".index.lock"),
            path.open("a+", encoding="utf-8", errors=SURROGATES, newline="") as file,
        ):
            columns: Sequence[str] = COLUMNS
            if file.tell() == 0:
                csv.writer(file, lineterminator="\n").writerow(COLUMNS)
            else:
                columns = _header(path)
                _check_columns(path, columns)
                if _cut_short(path):
                    file.write("\n")
            csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n").writerow(row)
    except ZeroshotError as error:
        log.warning("%s", error)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        log.warning("%s: this run's line can't be written (%s)", path, getattr(error, "strerror", None) or error)


def read(root: Path) -> list[Line]:
    """The lines of a history, the newest first.

    Raises:
        ZeroshotError: there is none, or it is not such a file.
    """
    path = root / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restkey="more", restval=None)
            lines = [line | dict.fromkeys(OPTIONAL - set(line), "") for line in reader]
            header = reader.fieldnames or []
    except FileNotFoundError as error:
        raise ZeroshotError(
            f"{path} does not exist: no run has ended yet; set stage.root to the folder of the runs"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ZeroshotError(f"{path} can't be read as CSV ({error}): remove it") from error
    _check_columns(path, header)
    whole = [line for line in lines if "more" not in line and None not in line.values()]
    if len(whole) < len(lines):
        log.warning("%s: %d incomplete lines are left out", path, len(lines) - len(whole))
    return sorted(whole, key=lambda line: line["finished"])[::-1]


def select(lines: Sequence[Line], patterns: dict[str, Sequence[str] | None]) -> list[Line]:
    """The lines whose model, data set and prompt match one of the patterns each; `*` stands for any letters."""
    return [
        line
        for line in lines
        if all(
            choices is None or any(fnmatchcase(line[column], pattern) for pattern in choices)
            for column, choices in patterns.items()
        )
    ]


def format_history(lines: Sequence[Line]) -> str:
    """The lines as a table: fitted and coloured for a terminal, otherwise plain."""
    options = [" ".join(table.own_options(line["overrides"].split(" "))) for line in lines]
    texts = [
        [_cell(line[column], column) if column != "overrides" else own or "–" for column in PRINTED]
        for line, own in zip(lines, options, strict=True)
    ]
    colours = [terminal.RED if line["status"] != table.OK else "" for line in lines]
    return terminal.draw(
        list(PRINTED.values()), texts, colours if terminal.coloured() else (), terminal.width_of_stdout()
    )


def _cell(text: str, column: str) -> str:
    if column == "finished":
        return text[:16].replace("T", " ")
    if column in ("top1", "top5", "images_per_s", "total_s"):
        with suppress(ValueError):  # another text is shown as it is
            return table.cell(float(text), column)
    return text or "–"


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if not set(COLUMNS) - OPTIONAL <= set(columns):
        raise ZeroshotError(f"{path} is not a history of runs (columns are missing): move it elsewhere")


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def _cut_short(path: Path) -> bool:
    """Whether a file's last line lacks its end, since the process that wrote it was killed."""
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) != b"\n"
