"""The command line: `python -m zeroshot GROUP=NAME KEY=VALUE …`."""

import atexit
import gc
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeroshot import __version__, interrupts
from zeroshot.errors import ZeroshotError
from zeroshot.runs.folder import release_all

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger("zeroshot")


def main() -> int:
    """Runs the command line and returns its exit status: 0, 1 if anything failed, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.raiseExceptions = False  # a reader that closed the pipe, or a full disk, needs no stack trace
    warnings.filterwarnings(
        "ignore", message=r"Image size \(.*\) exceeds limit"
    )  # a large image is read like any other
    atexit.register(gc.freeze)  # Python need not look through all of MindSpore's objects before it ends: half a second
    status = interrupts.INTERRUPTED
    try:
        with interrupts.handled():
            status = command(sys.argv[1:])
    except KeyboardInterrupt:
        print("interrupted; finished work is kept", file=sys.stderr)  # noqa: T201
    except (ZeroshotError, OSError) as error:  # of the system: a full disk, for one
        if full_errors():
            raise
        print(error, file=sys.stderr)  # noqa: T201
        status = 1
    finally:
        release_all()
    return _flushed(status)


def command(arguments: list[str]) -> int:
    """What `main` does, with errors raised."""
    if "--version" in arguments:
        print(f"zeroshot {__version__}")  # noqa: T201
        return 0
    import hydra
    from hydra._internal import utils as hydra_utils
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from zeroshot import sweep
    from zeroshot.config.compose import check_own_names, register
    from zeroshot.config.explain import explain
    from zeroshot.config.overrides import check_overrides, split
    from zeroshot.config.paths import source_folder

    flags, overrides = split(arguments)
    check_overrides(overrides)
    if (own := hydra_utils.get_args_parser().parse_known_args(flags)[0].config_dir) is not None:
        check_own_names(dict(override.split("=", 1) for override in overrides if "=" in override), Path(own))
    sys.argv[1:] = [*overrides, *flags]  # Hydra takes overrides in one piece, and before a flag with an optional value
    register()
    sweep.register_resolvers()
    hydra_utils.run_and_report = lambda func: func()  # `main` explains errors in one line
    status, interrupted = 0, False
    try:
        hydra.main(config_path=str(source_folder("conf")), config_name="config", version_base="1.3")(task)()
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        if full_errors():
            raise
        raise ZeroshotError(explain(error)) from error
    except KeyboardInterrupt:
        interrupted = True
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    if sweep.current is not None and sweep.current.is_dir():
        sweep.print_table(sweep.current)
    if interrupted:
        raise KeyboardInterrupt
    return status or int(not sweep.all_done())


def task(composed: "DictConfig") -> None:
    """One run of Hydra's: a failure is one line and a record; in a sweep the other jobs go on."""
    with interrupts.handled():  # a launcher's process has not come through `main`
        _run(composed)


def _run(composed: "DictConfig") -> None:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from zeroshot import run, sweep
    from zeroshot.config.validate import resolved
    from zeroshot.runs.folder import holds, release

    about = HydraConfig.get()
    in_sweep = about.mode == RunMode.MULTIRUN
    folder = Path(about.runtime.output_dir) if about.output_subdir is not None else None
    try:
        if folder is None:
            run.run_without_folder(resolved(composed))
            return
        if in_sweep and not holds(folder):
            log.info("done already: %s", folder)
            return
        overrides: Any = OmegaConf.to_container(about.overrides.task, resolve=False)
        repeat = {"command": repeat_command(overrides, about, in_sweep)}
        try:
            config = resolved(composed)
        except ZeroshotError as error:
            plain: Any = OmegaConf.to_container(composed, resolve=False, enum_to_str=True)
            run.leave_failed_record(run.Request(plain, overrides, repeat), folder, error)
            raise
        run.run_in_folder(run.Request(config, overrides, repeat), folder)
    except Exception as error:
        if full_errors():
            raise
        log.error(run.describe(error))
        if not isinstance(error, ZeroshotError):
            log.error("this is a bug in zeroshot: HYDRA_FULL_ERROR=1 shows where")
        sweep.note_failure()
        if not in_sweep:
            raise SystemExit(1) from error
    finally:
        if folder is not None:
            release(folder)


def repeat_command(overrides: list[str], about: Any, in_sweep: bool) -> list[str]:
    """The arguments after `python -m zeroshot` that repeat a run, alone if it was a job of a sweep."""
    folders = [each.path for each in about.runtime.config_sources if each.provider == "command-line"]
    flags = [part for path in folders for part in ("--config-dir", path.removeprefix("file://"))]
    return [*flags, *overrides, *(["hydra.mode=RUN"] if in_sweep else [])]


def full_errors() -> bool:
    """Whether the user asked for stack traces, in Hydra's way."""
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


def _flushed(status: int) -> int:
    """The exit status; what a reader that closed the pipe did not take is dropped."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


if __name__ == "__main__":
    # by its own name, so that the task can be sent to another process
    from zeroshot.__main__ import main as entry

    sys.exit(entry())
