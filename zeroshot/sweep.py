"""Where runs land: the Hydra callback that finds each run its folder and knows a sweep's, and its table."""

import atexit
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from zeroshot import report, results, table

SWEEP_DIR = "hydra.sweep.dir"

current: Path | None = None  # the folder of the sweep that this process runs
failed = False  # whether a run of this process failed


class Folders(Callback):
    """Sees to it that no run and no sweep shares a folder with another, and keeps a sweep's table up to date."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.output_subdir is None:  # a stage that leaves no run folder
            return
        folder = results.claim(Path(config.hydra.run.dir))
        with read_write(config), open_dict(config):
            config.hydra.run.dir = str(folder)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        global current
        folder = Path(config.hydra.sweep.dir)
        overrides = config.hydra.overrides.hydra
        if config.hydra.output_subdir is None:
            self._sweep_into(config, _passing_folder())
            return
        if not any(override.startswith(f"{SWEEP_DIR}=") for override in overrides):
            folder = _new_folder(folder)
            self._sweep_into(config, folder)
        current = folder

    def _sweep_into(self, config: DictConfig, folder: Path) -> None:
        with read_write(config), open_dict(config):
            config.hydra.sweep.dir = str(folder)
            # each job is composed anew, from these
            config.hydra.overrides.hydra.append(f"{SWEEP_DIR}='{folder}'")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        in_sweep = config.hydra.job.get("num") is not None
        if in_sweep and config.hydra.output_subdir is not None:
            table.write(Path(config.hydra.sweep.dir))
            report.draw_sweep(Path(config.hydra.sweep.dir))


def job_folder(name: str, *, _root_: DictConfig) -> str:
    """The resolver of `hydra.sweep.subdir`: the job's folder in its sweep, claimed when it is first asked for."""
    sweep = Path(_root_.hydra.sweep.dir)
    decided = OmegaConf.select(_root_, "hydra.runtime.output_dir", throw_on_missing=False)
    if decided is not None and Path(decided).parent == sweep.absolute():
        return Path(decided).name
    return results.claim(sweep / name).name


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
