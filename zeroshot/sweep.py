"""Where runs land: the Hydra callback that finds each run its folder and knows a sweep's, and its table."""

import atexit
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from zeroshot import report
from zeroshot.config.paths import register_home
from zeroshot.config.validate import resolved
from zeroshot.errors import ZeroshotError
from zeroshot.runs import folder as run_folder
from zeroshot.runs import record as run_record
from zeroshot.runs import table

current: Path | None = None  # the folder of the sweep that this process runs
passing: Path | None = None  # the folder that Hydra wants for a sweep whose stage leaves none
failed = False  # whether a run of this process failed
FAILED = "failed"  # the file in a passing folder that says so, since a launcher's jobs are other processes


class Folders(Callback):
    """Sees to it that no run and no sweep shares a folder with another, and keeps a sweep's table up to date."""

    def __init__(self) -> None:
        register_resolvers()

    def __reduce__(self) -> tuple[type["Folders"], tuple[()]]:
        return Folders, ()  # made anew in a launcher's process, which wants the resolvers too

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.output_subdir is None:  # a stage that leaves no run folder
            return
        with _told("hydra.run.dir"):
            folder = run_folder.claim(Path(config.hydra.run.dir))
        with read_write(config), open_dict(config):
            config.hydra.run.dir = str(folder)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        global current, passing
        if config.hydra.output_subdir is None:
            passing = _passing_folder()
            _pin(config, passing)
            return
        folder = Path(config.hydra.sweep.dir)
        typed: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
        with _told("hydra.sweep.dir"):
            if "${now:" in typed["dir"]:  # else it is named outright: an old sweep to go on with
                folder = _new_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
        if "${" in typed["dir"]:
            _pin(config, folder)
        current = folder

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction, **_: Any) -> None:
        self._gather(config)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if self._gather(config):
            report.draw_sweep(Path(config.hydra.sweep.dir))

    def _gather(self, config: DictConfig) -> bool:
        in_sweep = config.hydra.job.get("num") is not None and config.hydra.output_subdir is not None
        if in_sweep:
            gather(Path(config.hydra.sweep.dir))
        return in_sweep


def register_resolvers() -> None:
    """Tells OmegaConf of what our config files ask for: `zeroshot_home` and `job_folder`."""
    register_home()
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def job_folder(name: str, *, _root_: DictConfig) -> str:
    """The resolver of `hydra.sweep.subdir`: the job's folder in its sweep, claimed when it is first asked for.

    A job of this config that is done keeps its folder, and one that was killed has its folder taken over.
    """
    sweep = Path(_root_.hydra.sweep.dir)
    decided = OmegaConf.select(_root_, "hydra.runtime.output_dir", throw_on_missing=False)
    if decided is not None and Path(decided).parent == sweep.absolute():
        return Path(decided).name
    if _root_.hydra.output_subdir is None:
        return name
    config_digest = digest(_root_)
    with alone(sweep):
        folders = [folder for folder in sorted(sweep.iterdir()) if folder.is_dir()]
        for usable in (run_record.done, run_folder.take_over):
            for folder in folders:
                if usable(folder, config_digest):
                    return folder.name
        return run_folder.claim(sweep / name, config_digest).name


def digest(composed: DictConfig) -> str:
    """The digest of a composed config as its record will have it, with or without Hydra's own part."""
    config = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    try:
        return run_record.digest(resolved(config))
    except ZeroshotError:  # the job will tell it
        plain: Any = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
        return run_record.digest(plain)


def gather(sweep: Path) -> None:
    """Writes what a sweep shows of its jobs so far."""
    with alone(sweep):
        table.write(sweep)


def all_done() -> bool:
    """Whether nothing failed in this process and its launcher's, and no job of the sweep lacks its complete record."""
    elsewhere = passing is not None and (passing / FAILED).exists()
    return not (failed or elsewhere or (current is not None and current.is_dir() and not table.complete(current)))


def note_failure() -> None:
    """Remembers that a run failed, for `all_done` in whatever process."""
    global failed
    failed = True
    about = HydraConfig.get()
    if about.mode == RunMode.MULTIRUN and about.output_subdir is None:
        (Path(about.sweep.dir) / FAILED).touch()


@contextmanager
def alone(sweep: Path) -> Iterator[None]:
    """Holds a sweep's folder against other processes, for as long as one looks and then writes."""
    from filelock import FileLock

    sweep.mkdir(parents=True, exist_ok=True)
    with FileLock(sweep / ".lock"):
        yield


@contextmanager
def _told(key: str) -> Iterator[None]:
    """Ends the command with one line where a folder can't be made: of a callback's error Hydra makes a warning."""
    try:
        yield
    except (OSError, ZeroshotError) as error:
        sys.stderr.write(f"{error}: choose another folder with {key}=FOLDER\n")
        raise SystemExit(1) from error


def _pin(config: DictConfig, folder: Path) -> None:
    """Sets the sweep's folder, for Hydra and for each job, which is composed anew from the overrides."""
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    with read_write(config), open_dict(config):
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")


class BelowWarning(logging.Filter):
    """Lets through what is told, and keeps back what is wrong."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING


def _passing_folder() -> Path:
    """For a sweep of a stage that leaves no folder: Hydra wants one all the same."""
    folder = Path(tempfile.mkdtemp(prefix="zeroshot-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _new_folder(folder: Path) -> Path:
    tried, number = folder, 1
    while True:
        try:
            tried.mkdir(parents=True)
            return tried
        except FileExistsError:
            number += 1
            tried = folder.with_name(f"{folder.name}-{number}")
