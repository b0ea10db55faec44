"""The table of a sweep: one row per config, the newest first to count, failed and unfinished jobs among them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zeroshot import results
from zeroshot.results import Record

COLUMNS = (
    "model",
    "dataset",
    "prompt",
    "images",
    "top1",
    "published",
    "delta",
    "top5",
    "mean_per_class_recall",
    "images_per_s",
    "total_s",
    "status",
    "folder",
    "config_digest",
)
PERCENT = ("top1", "published", "delta", "top5", "mean_per_class_recall")
SHOWN = tuple(column for column in COLUMNS if column not in ("folder", "config_digest"))
UNFINISHED = "unfinished"

Row = dict[str, Any]


def rows(sweep: Path) -> list[Row]:
    """A row per config of a sweep's jobs, in the order of their folders."""
    newest: dict[str, tuple[str, Row]] = {}
    for folder in sorted(sweep.iterdir(), key=lambda path: _natural(path.name)):
        if not (folder / ".hydra").is_dir():
            continue
        record = results.read_record(folder)
        row = _unfinished(folder) if record is None else _row(folder, record)
        key = row["config_digest"] or folder.name
        time = "" if record is None else record["finished"]
        if key not in newest or newest[key][0] <= time:
            newest[key] = (time, row)
    return [row for _, row in newest.values()]


def complete(sweep: Path) -> bool:
    """Whether every job of the sweep left a record without an error."""
    return all(row["status"] == "ok" for row in rows(sweep))


def write(sweep: Path) -> None:
    """Writes `table.md` and `table.csv` of what the sweep's jobs have left so far."""
    listed = rows(sweep)
    results.write_csv(
        sweep / "table.csv",
        COLUMNS,
        [["" if row[column] is None else row[column] for column in COLUMNS] for row in listed],
    )
    results.write(sweep / "table.md", markdown(listed))


def markdown(listed: Sequence[Row]) -> str:
    """The rows as a Markdown table whose columns are aligned in plain text too."""
    cells = [
        [column.replace("_", " ") for column in SHOWN],
        *([_cell(row, column) for column in SHOWN] for row in listed),
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(SHOWN))]
    numeric = [column not in ("model", "dataset", "prompt", "status") for column in SHOWN]
    lines = [
        "| "
        + " | ".join(_aligned(text, width, right) for text, width, right in zip(line, widths, numeric, strict=True))
        + " |"
        for line in cells
    ]
    rule = (
        "|"
        + "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True))
        + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _row(folder: Path, record: Record) -> Row:
    config = record["config"]
    row: Row = dict.fromkeys(COLUMNS)
    row |= {
        "model": _named(config, "model"),
        "dataset": _named(config, "dataset"),
        "prompt": _named(config, "prompt"),
        "status": record.get("error", "ok"),
        "folder": folder.name,
        "config_digest": record["config_digest"],
    }
    if "metrics" in record:
        references = record["references"]
        published = references[0] if references else {"top1": None, "delta": None}
        row |= {
            "images": record["dataset"]["size"],
            **{key: record["metrics"][key] for key in ("top1", "top5", "mean_per_class_recall")},
            "published": published["top1"],
            "delta": published["delta"],
            "images_per_s": record["timing"]["images_per_s"],
            "total_s": record["timing"]["total_s"],
        }
    return row


def _unfinished(folder: Path) -> Row:
    """A job without a record: it still runs, or was killed."""
    row: Row = dict.fromkeys(COLUMNS)
    return row | {"status": UNFINISHED, "folder": folder.name, "model": folder.name}


def _named(config: dict[str, Any], group: str) -> Any:
    part = config.get(group)
    return part.get("name") if isinstance(part, dict) else None


def _cell(row: Row, column: str) -> str:
    value = row[column]
    if value is None:
        return "–"
    if column in PERCENT:
        return f"{100 * value:+.2f}" if column == "delta" else f"{100 * value:.2f}"
    return f"{value:.1f}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")


def _aligned(text: str, width: int, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def _natural(name: str) -> tuple[int, str]:
    head = name.split("_")[0]
    return (int(head) if head.isdigit() else 10**9, name)
