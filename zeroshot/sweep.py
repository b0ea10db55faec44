"""Hydra's callback: a folder of its own for each run, job and sweep, and the table of a sweep."""

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

from zeroshot.errors import ZeroshotError, double_quoted

current: Path | None = None  # the folder of the sweep that this process runs
temporary: Path | None = None  # the folder that Hydra is given for a sweep whose stage leaves none
failed = False  # whether a run of this process failed
FAILED = "failed"  # the file in a temporary folder that says so, since a launcher's jobs are other processes
LOCK = ".lock"  # of a sweep's folder, while it is read and written

log = logging.getLogger(__name__)


class Folders(Callback):
    """Gives each run and each sweep a folder that no other has, and keeps a sweep's table up to date."""

    def __init__(self) -> None:
        register_resolvers()

    def __reduce__(self) -> tuple[type["Folders"], tuple[()]]:
        return Folders, ()  # rebuilt in a launcher's process, which needs the resolvers too

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.output_subdir is None:  # a stage that leaves no run folder
            return
        from zeroshot.config.paths import expand_path
        from zeroshot.runs.folder import claim

        with _one_line_error("hydra.run.dir"):
            folder = claim(expand_path(config.hydra.run.dir))
        with read_write(config), open_dict(config):
            config.hydra.run.dir = str(folder)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        global current, temporary
        _shut_ray_of_launcher(config)
        if config.hydra.output_subdir is None:
            temporary = Path(tempfile.mkdtemp(prefix="zeroshot-"))
            atexit.register(shutil.rmtree, temporary, ignore_errors=True)
            _fix_sweep_folder(config, temporary)
            return
        from zeroshot.config.paths import expand_path

        folder = expand_path(config.hydra.sweep.dir)
        typed: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
        with _one_line_error("hydra.sweep.dir"):
            if "${now:" in typed["dir"]:  # otherwise the user named a folder: an earlier sweep to resume
                folder = _new_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
        if str(folder) != typed["dir"]:
            _fix_sweep_folder(config, folder)
        current = folder

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction, **_: Any) -> None:
        self._update_table(config)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        if self._update_table(config):
            from zeroshot import report

            report.draw_sweep(Path(config.hydra.sweep.dir))

    def _update_table(self, config: DictConfig) -> bool:
        in_sweep = config.hydra.job.get("num") is not None and config.hydra.output_subdir is not None
        if in_sweep:
            write_table(Path(config.hydra.sweep.dir))
        return in_sweep


def _shut_ray_of_launcher(config: DictConfig) -> None:
    """Keeps a Ray that `hydra/launcher=ray` starts on this machine to this machine."""
    init = OmegaConf.select(config, "hydra.launcher.ray.init")
    if init is None or init.get("address") is not None:
        return
    from zeroshot.devices.cluster import shut_by_default

    shut_by_default()
    with read_write(config), open_dict(config):
        init.setdefault("include_dashboard", False)


def register_resolvers() -> None:
    """Registers the resolvers of our YAML files, `zeroshot_home` and `job_folder`, with OmegaConf."""
    from zeroshot.config.paths import register_home

    register_home()
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def job_folder(name: str, *, _root_: DictConfig) -> str:
    """The resolver of `hydra.sweep.subdir`: the name of the job's folder, which is claimed when it is first asked for.

    A complete job of this config, with the weights and data that it has now, keeps its folder; the folder of one that
    was killed is taken over; otherwise it is a new one.
    """
    sweep = Path(_root_.hydra.sweep.dir)
    decided = OmegaConf.select(_root_, "hydra.runtime.output_dir", throw_on_missing=False)
    if decided is not None and Path(decided).parent == sweep.absolute():
        return Path(decided).name
    if _root_.hydra.output_subdir is None:
        return name
    from zeroshot.runs import record
    from zeroshot.runs.folder import HYDRA, claim, take_over

    config = _plain(_root_)
    config_digest = record.digest(config)
    with locked(sweep):
        folders = [folder for folder in sorted(sweep.iterdir()) if (folder / HYDRA).is_dir()]
        for folder in folders:
            if is_done(folder, config_digest):
                return folder.name
        for folder in folders:
            if digest_in(folder) == config_digest and take_over(folder):
                return folder.name
        named = str(OmegaConf.select(_root_, "prompt.name", default=""))
        if config.get("prompt", {}).get("name", named) != named:  # templates that are not the set's
            name = f"{name.removesuffix(named)}own_prompts"
        return claim(sweep / name).name


def digest(composed: DictConfig) -> str:
    """The digest of a composed config, with or without Hydra's own part, as its record has it."""
    from zeroshot.runs import record

    return record.digest(_plain(composed))


def _plain(composed: DictConfig) -> dict[str, Any]:
    """A composed config without Hydra's own part as the job will have it, or unresolved where that fails."""
    from zeroshot.config.validate import resolved

    config = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    try:
        return resolved(config)
    except ZeroshotError:  # the job will report it
        plain: Any = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
        return plain  # type: ignore[no-any-return]


def digest_in(folder: Path) -> str | None:
    """The digest of the config that Hydra saved in a job's folder; None if it can't be read."""
    from zeroshot.runs.folder import HYDRA

    try:
        saved = OmegaConf.load(folder / HYDRA / "config.yaml")
    except Exception:  # cut short, or not there yet
        return None
    return digest(saved) if isinstance(saved, DictConfig) else None


def is_done(folder: Path, config_digest: str) -> bool:
    """Whether a folder holds the complete record of a run of this config on the weights and data that it has now."""
    from zeroshot.runs.record import is_complete, read_record

    record = read_record(folder)
    if record is None or not is_complete(record, config_digest):
        return False
    from zeroshot.stages.inputs import are_unchanged

    return are_unchanged(record)


def write_table(sweep: Path) -> None:
    """Writes the table of what a sweep's jobs have left so far."""
    from zeroshot.runs import table

    with locked(sweep):
        table.write(sweep)


def print_table(sweep: Path) -> None:
    """Writes and draws the sweep once more, and prints its table."""
    from zeroshot import report
    from zeroshot.runs import table

    try:
        write_table(sweep)
    except OSError as error:
        log.warning("%s: the table can't be written (%s)", sweep, error.strerror or error)
    report.draw_sweep(sweep)
    print(table.format_table(sweep), end="")  # noqa: T201
    print(f"the sweep: {sweep}")  # noqa: T201


def all_done() -> bool:
    """Whether no run failed in this process and its launcher's, and every job of the sweep left a complete record."""
    if failed or (temporary is not None and (temporary / FAILED).exists()):
        return False
    if current is None or not current.is_dir():
        return True
    from zeroshot.runs import table

    return table.complete(current)


def note_failure() -> None:
    """Remembers that a run failed, for `all_done` in whatever process."""
    global failed
    failed = True
    about = HydraConfig.get()
    if about.mode == RunMode.MULTIRUN and about.output_subdir is None:
        (Path(about.sweep.dir) / FAILED).touch()


@contextmanager
def locked(sweep: Path) -> Iterator[None]:
    """Holds a sweep's folder against other processes."""
    from filelock import FileLock

    sweep.mkdir(parents=True, exist_ok=True)
    with FileLock(sweep / LOCK):
        yield


@contextmanager
def _one_line_error(key: str) -> Iterator[None]:
    """Ends the command with one line where a folder can't be made: Hydra makes a warning of a callback's error."""
    try:
        yield
    except (OSError, ValueError, ZeroshotError) as error:
        sys.stderr.write(f"{error}: choose another folder with {key}=FOLDER\n")
        raise SystemExit(1) from error


def _fix_sweep_folder(config: DictConfig, folder: Path) -> None:
    """Sets the sweep's folder, for Hydra and for each job, which is composed again from the overrides."""
    with read_write(config), open_dict(config):
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={double_quoted(str(folder))}")


def _new_folder(folder: Path) -> Path:
    tried, number = folder, 1
    while True:
        try:
            tried.mkdir(parents=True)
            return tried
        except FileExistsError:
            number += 1
            tried = folder.with_name(f"{folder.name}-{number}")


class BelowWarning(logging.Filter):
    """Passes on what is below a warning: that goes to stdout, the rest to stderr."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING
