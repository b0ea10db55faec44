"""A sweep's page and figures: its table, a bar a run, the matrix of prompts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zeroshot.report.bars import Bar
from zeroshot.report.intervals import wilson
from zeroshot.report.page import render
from zeroshot.runs import folder as run_folder
from zeroshot.runs import record as run_record
from zeroshot.runs import table
from zeroshot.runs.folder import FIGURES
from zeroshot.runs.table import Matrix, Row

BARS = 40  # runs that have one
KEYS = ("model", "dataset", "prompt")


def draw(page: Path) -> None:
    """Writes the page and the figures of the sweep in the page's folder."""
    folder = page.parent
    rows = table.rows(folder)
    done = [row for row in rows if row["top1"] is not None]
    finished = {row["folder"]: _finished(folder / row["folder"]) for row in rows}
    matrices = table.matrices(done)
    named = {key: {row[key] for row in rows if row[key] is not None} for key in KEYS}  # some have none yet
    context: dict[str, Any] = {
        "title": folder.name,
        "rows": rows,
        "options": dict(zip((row["folder"] for row in rows), table.differing_options(rows), strict=True)),
        "pages": {row["folder"] for row in rows if (folder / row["folder"] / page.name).is_file()},
        "done": len(done),
        "failed": sum(row["top1"] is None and finished[row["folder"]] != "" for row in rows),
        "unfinished": sum(time == "" for time in finished.values()),
        "best": max(done, key=lambda row: float(row["top1"]), default=None),
        "constant": {key: next(iter(values)) for key, values in named.items() if len(values) == 1},
        "varied": len(named["dataset"]) > 1,
        "matrices": matrices,
        "interval": interval,
        "finished": max(finished.values(), default=""),
        "bars": bars(done),
    }
    if done:
        _figures(folder / FIGURES, context["bars"], matrices)
    run_folder.write_text(page, render("sweep.html", context))


def bars(done: Sequence[Row]) -> list[Bar]:
    """A bar a run, named by what differs from other runs, at worst by its folder."""
    varying = [key for key in KEYS if len({row[key] for row in done}) > 1] or ["model"]
    options = table.differing_options(done)
    names = [
        " · ".join([*(str(row[key]) for key in varying), *([own] if own else [])])
        for row, own in zip(done, options, strict=True)
    ]
    if len(set(names)) < len(names):
        names = [row["folder"] for row in done]
    listed = [Bar(name, row["top1"], interval(row), row["published"]) for name, row in zip(names, done, strict=True)]
    return listed[:BARS]


def interval(row: Row) -> tuple[float, float]:
    """The 95 % interval of a row's top-1."""
    return wilson(round(row["top1"] * row["images"]), row["images"])


def _figures(folder: Path, listed: Sequence[Bar], matrices: Sequence[Matrix]) -> None:
    from zeroshot.report import figures

    folder.mkdir(exist_ok=True)
    figures.png(figures.bars(listed), folder / "models.png")
    for number, matrix in enumerate(matrices, 1):
        shares = np.array([[np.nan if share is None else share for share in line] for line in matrix.shares])
        name = "prompts.png" if number == 1 else f"prompts_{number}.png"
        figures.png(figures.table(matrix.models, matrix.prompts, shares), folder / name)


def _finished(folder: Path) -> str:
    """When a job left its record; empty for one that still runs or was killed."""
    record = run_record.read_record(folder)
    return "" if record is None else str(record["finished"])
