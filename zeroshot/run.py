"""One run, whoever asks for it: a locked folder, the stage, one record, the line of the history, the page."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from zeroshot.config.validate import checked
from zeroshot.errors import ZeroshotError
from zeroshot.interrupts import uninterrupted
from zeroshot.runs import history
from zeroshot.runs.folder import RECORD, release
from zeroshot.runs.record import Record, read_record, start_record, write_record
from zeroshot.stages.result import StageResult

WITH_FOLDER = {"eval": "evaluate", "predict": "predict"}  # the modules of `zeroshot.stages` by the stage's name

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a run is asked to do.

    `config` is the resolved config; `overrides` are the command line's. `repeat` is what the record says of how to
    repeat the run: `{"command": [...]}`, the arguments after `python -m zeroshot`, or `{"python": "..."}`.
    """

    config: dict[str, Any]
    overrides: Sequence[str]
    repeat: dict[str, Any]


def run_without_folder(config: dict[str, Any]) -> None:
    """Runs a stage that leaves no run folder.

    Raises:
        ZeroshotError: something of the input can't be used.
    """
    checked_config = checked(config)
    import_module(f"zeroshot.stages.{checked_config.stage.name}").run(checked_config)


def run_in_folder(request: Request, folder: Path) -> Record:
    """Runs a stage in a folder that the caller has claimed, and releases the folder.

    The record is written once: with the results as soon as they are there, whatever happens after that, or with an
    error. A result file that can't be written, on a full disk for example, leaves the record with its metrics and the
    error.

    Raises:
        ZeroshotError: something of the input can't be used, or a file can't be written.
        KeyboardInterrupt: the run was interrupted.
    """
    try:
        record = start_record(request.config, request.overrides) | request.repeat
        try:
            config = checked(request.config)
            result: StageResult = import_module(f"zeroshot.stages.{WITH_FOLDER[config.stage.name]}").run(config)
        except (Exception, KeyboardInterrupt) as failure:
            _fail(folder, record, failure)
            raise
        record |= result.record
        error = result.error
        with uninterrupted():
            try:
                result.write(folder)
            except OSError as full:
                error = f"{full.filename or folder}: the results can't be written ({full.strerror or full})"
            if error is not None:
                record["error"] = error
            written = _finish(folder, record)
        page = draw(folder, result.images)
        if error is not None:
            place = "" if written is None or written.parent == folder else f"; the record is in {written}: make room"
            raise ZeroshotError(error + place)
        log.info("record: %s", _below_current_folder(folder / RECORD))
        if page is not None:
            log.info("page: %s", _below_current_folder(page))
        if result.hint is not None:
            log.info(result.hint)
        return read_record(folder) or record
    finally:
        release(folder)


def leave_failed_record(request: Request, folder: Path, error: BaseException) -> None:
    """Leaves the record of a run that failed before its stage began."""
    _fail(folder, start_record(request.config, request.overrides) | request.repeat, error)


def draw(folder: Path, images: Sequence[Any] | None = None) -> Path | None:
    """Draws the run's page; a failure is a warning."""
    from zeroshot import report

    return report.draw_run(folder, images)


def describe(error: BaseException) -> str:
    """An error as the one line that people read."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, ZeroshotError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def _below_current_folder(path: Path) -> Path:
    """A path as people read it: relative where it is below the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _fail(folder: Path, record: Record, error: BaseException) -> None:
    _finish(folder, record | {"error": describe(error)})
    if not isinstance(error, KeyboardInterrupt):
        draw(folder)


def _finish(folder: Path, record: Record) -> Path | None:
    """Writes the record and the run's line in the history; None where no disk takes the record."""
    with uninterrupted():
        try:
            path = write_record(folder, record)
        except OSError as error:
            log.error("%s: the record can't be written (%s)", folder, error.strerror or error)
            return None
        if path.parent == folder:
            history.add(folder)
        return path
