"""The page of everything: each run and each sweep under a folder, newest first."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zeroshot.report.intervals import Interval, wilson
from zeroshot.report.page import render
from zeroshot.runs import folder as run_folder
from zeroshot.runs import record as run_record
from zeroshot.runs import table
from zeroshot.runs.folder import HYDRA, PAGE, TABLE
from zeroshot.runs.record import Record


@dataclass(frozen=True)
class Run:
    """A run in the list; what it has no figure for is None."""

    folder: str  # relative to the page, with `/`
    page: str | None
    sweep: str | None  # the folder of its sweep
    finished: str
    stage: str
    model: str
    dataset: str
    prompt: str
    options: str  # the overrides that no other column shows
    images: int | None
    top1: float | None
    interval: Interval | None
    published: float | None
    delta: float | None
    total_s: float | None
    error: str | None


@dataclass(frozen=True)
class Sweep:
    """A sweep in the list."""

    folder: str
    page: str | None
    finished: str
    runs: int
    failed: int
    models: list[str]
    datasets: list[str]
    prompts: list[str]
    best: float | None


def draw(page: Path, draw_run: Callable[[Path], object], draw_sweep: Callable[[Path], object]) -> None:
    """Writes the page of all that is under its folder, and the pages that are missing there."""
    root = page.parent
    runs, sweep_folders = [], []
    for folder in _folders(root):
        if (folder / TABLE).is_file():
            sweep_folders.append(folder)
            if not (folder / PAGE).is_file():
                draw_sweep(folder)
        if (folder / HYDRA).is_dir() or (folder / run_folder.RECORD).is_file():
            record = run_record.read_record(folder)
            if record is not None and not (folder / PAGE).is_file():
                draw_run(folder)
            runs.append(_run(root, folder, record))
    runs.sort(key=lambda run: (run.finished, run.folder), reverse=True)
    sweeps = [_sweep(root, folder, runs) for folder in sweep_folders]
    sweeps.sort(key=lambda sweep: (sweep.finished, sweep.folder), reverse=True)
    choices = {
        "model": sorted({run.model for run in runs if run.model}),
        "dataset": sorted({run.dataset for run in runs if run.dataset}),
        "prompt": sorted({run.prompt for run in runs if run.prompt}),
    }
    run_folder.write_text(
        page, render("index.html", {"runs": runs, "sweeps": sweeps, "choices": choices, "root": root.name})
    )


def _folders(root: Path) -> Iterator[Path]:
    """Every folder under the root that may hold a run or a sweep; nothing inside a run's folder."""
    for place, inside, held in os.walk(root):
        path = Path(place)
        if HYDRA in inside or run_folder.RECORD in held or TABLE in held:
            yield path
        if HYDRA in inside or run_folder.RECORD in held:
            inside.clear()
        inside.sort()


def _run(root: Path, folder: Path, record: Record | None) -> Run:
    place = folder.relative_to(root).as_posix()
    page = f"{place}/{PAGE}" if (folder / PAGE).is_file() else None
    sweep = folder.parent.relative_to(root).as_posix() if (folder.parent / TABLE).is_file() else None
    if record is None:
        return Run(place, page, sweep, "", "", "", "", "", "", None, None, None, None, None, None, table.UNFINISHED)
    config, metrics = record["config"], record.get("metrics")
    named = [str(config[group].get("name", "")) if isinstance(config.get(group), dict) else "" for group in GROUPS]
    references = record.get("references") or [{"top1": None, "delta": None}]
    size = record["dataset"]["size"] if metrics else record.get("images")
    predicts = record["stage"] == "predict"
    return Run(
        place,
        page,
        sweep,
        str(record["finished"]),
        str(record["stage"]),
        named[0],
        "" if predicts else named[1],
        named[2],
        " ".join(table.own_options(record["overrides"])),
        size,
        metrics["top1"] if metrics else None,
        wilson(metrics["correct"], record["dataset"]["size"]) if metrics else None,
        references[0]["top1"],
        references[0]["delta"],
        (record.get("timing") or {}).get("total_s"),
        record.get("error"),
    )


GROUPS = ("model", "dataset", "prompt")


def _sweep(root: Path, folder: Path, runs: list[Run]) -> Sweep:
    place = folder.relative_to(root).as_posix()
    own = [run for run in runs if run.sweep == place]
    return Sweep(
        folder=place,
        page=f"{place}/{PAGE}" if (folder / PAGE).is_file() else None,
        finished=max((run.finished for run in own), default=""),
        runs=len(own),
        failed=sum(run.error is not None for run in own),
        models=sorted({run.model for run in own if run.model}),
        datasets=sorted({run.dataset for run in own if run.dataset}),
        prompts=sorted({run.prompt for run in own if run.prompt}),
        best=max((run.top1 for run in own if run.top1 is not None), default=None),
    )
