"""The command line: `python -m zeroshot GROUP=NAME KEY=VALUE …`."""

import csv
import logging
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from zeroshot import __version__, ranks, report, run, scheduler, sweep, table
from zeroshot.config.paths import source_folder
from zeroshot.config.schema import Config
from zeroshot.config.validate import checked, resolved
from zeroshot.errors import ZeroshotError
from zeroshot.line import ElsewhereError
from zeroshot.runs import folder as run_folder
from zeroshot.runs import history as index
from zeroshot.runs import record as run_record

log = logging.getLogger("zeroshot")

INTERRUPTED = 130
SILENT = ("hydra.output_subdir=null", "hydra.run.dir=.", "hydra.job_logging.root.handlers=[told,wrong]")  # ranks over 0
FLAGS_WITH_VALUE = (
    "-cd",
    "--config-dir",
    "-cp",
    "--config-path",
    "-cn",
    "--config-name",
    "-p",
    "--package",
    "-c",
    "--cfg",
)


def main() -> int:
    """Runs the command line and gives its exit status: 0, 1 if anything failed, 130 after Ctrl-C."""
    if place := scheduler.seat("MS_SCHED"):
        return scheduler.serve(place)
    with stoppable():
        try:
            ranks.join()
        except (ZeroshotError, KeyboardInterrupt) as error:
            log.error(explain(error))
            return 1
        return ranks.leave(command())


def command() -> int:
    """What `main` does, stoppable or not."""
    arguments = sys.argv[1:]
    if "--version" in arguments:
        print(f"zeroshot {__version__}")  # noqa: T201
        return 0
    status = 0
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a large picture is read like any other
    try:
        flags, overrides = split(arguments)
        check_overrides(overrides)
        silent = SILENT if ranks.rank() else ()
        sys.argv[1:] = [*flags, *overrides, *silent]  # Hydra takes overrides in one piece alone
        register()
        if {"--help", "-h"} & set(flags):
            share_config_store()
        hydra.main(config_path=str(source_folder("conf")), config_name="config", version_base="1.3")(task)()
    except ZeroshotError as error:
        if full_errors():
            raise
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        print("stopped; what was finished is kept", file=sys.stderr)  # noqa: T201
        status = INTERRUPTED
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    if sweep.current is not None and sweep.current.is_dir():
        sweep.gather(sweep.current)
        report.draw_sweep(sweep.current)
        print(table.told(sweep.current), end="")  # noqa: T201
        print(f"the sweep: {sweep.current}")  # noqa: T201
    return status or int(not sweep.all_done())


def register() -> None:
    """Tells Hydra of the schema, the experiments and the resolvers."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    for path in source_folder("experiments").glob("*.yaml"):
        store.store(group="experiment", name=path.stem, package="_global_", node=OmegaConf.load(path))
    sweep.register_resolvers()


def share_config_store() -> None:
    """Spares Hydra's help page half of its time: it copies the store for every group, and what it loads once more."""
    vars(ConfigStore.instance())["__deepcopy__"] = lambda _memo: ConfigStore.instance()


def task(composed: DictConfig) -> None:
    """One run of Hydra's: a failure is one line and a record; in a sweep the other jobs go on."""
    about = HydraConfig.get()
    folder = Path(about.runtime.output_dir) if about.output_subdir is not None else None
    done = about.mode == RunMode.MULTIRUN and folder is not None and run_record.done(folder, sweep.digest(composed))
    if ranks.first(done):
        log.info("done already: %s", folder)
        return
    with stoppable():
        do(composed, folder)


def do(composed: DictConfig, folder: Path | None) -> None:
    """What `task` does of a run that is not done yet, stoppable or not."""
    about = HydraConfig.get()
    record: run_record.Record = {}
    try:
        with ranks.job(explain):
            ranks.if_lost(lambda line: leave_record(folder, record, line))
            if folder is not None and not run_folder.lock(folder):
                raise ZeroshotError(f"{folder} holds another run: choose hydra.run.dir=FOLDER")
            plain: Any = OmegaConf.to_container(composed, resolve=False, enum_to_str=True)
            overrides: Any = OmegaConf.to_container(about.overrides.task, resolve=False)
            record = run_record.start_record(plain, overrides)
            config = resolved(composed)
            record = run_record.start_record(config, overrides)
            run.run(checked(config), folder, record)
    except (Exception, KeyboardInterrupt) as error:
        line = explain(error)
        if folder is not None and record:
            run_record.write_record(folder, record | {"error": line})
            report.draw_run(folder)
        if isinstance(error, KeyboardInterrupt) or full_errors():
            raise
        if ranks.rank() == 0 or not isinstance(error, ElsewhereError):
            log.error(line)
        if not isinstance(error, ZeroshotError):
            log.error("this is a fault of zeroshot's: HYDRA_FULL_ERROR=1 shows where")
        sweep.note_failure()
        if about.mode != RunMode.MULTIRUN:
            raise SystemExit(1) from error
    finally:
        if folder is not None and record:
            index.add(folder)
            run_folder.unlock(folder)


def leave_record(folder: Path | None, record: run_record.Record, line: str) -> None:
    """Leaves the record of a run that fails in the middle, where none is left yet."""
    if folder is not None and record and run_record.read_record(folder) is None:
        run_record.write_record(folder, record | {"error": line})
        index.add(folder)
        run_folder.unlock(folder)


@contextmanager
def stoppable() -> Iterator[None]:
    """Lets Ctrl-C, and a SIGTERM, end a run in good order, with its record and the sweep's table.

    A compiled network of MindSpore's takes Ctrl-C over and makes it a SIGTERM, which would kill the process. A launcher
    that has a way of its own with SIGTERM keeps it.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))  # back from MindSpore


def full_errors() -> bool:
    """Whether the user asked for stack traces, in Hydra's way."""
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


def explain(error: BaseException) -> str:
    """An error as the one line that people see."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, ZeroshotError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The flags, each with its value, and the overrides of a command line that mixes them."""
    flags: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        belongs_to_flag = argument.startswith("-") or (bool(flags) and flags[-1] in FLAGS_WITH_VALUE)
        (flags if belongs_to_flag else overrides).append(argument)
    return flags, overrides


def check_overrides(overrides: list[str]) -> None:
    """Refuses an override that Hydra's grammar can't read, with the spelling that it can.

    Raises:
        ZeroshotError: the first such override.
    """
    parser = OverridesParser.create()
    for override in overrides:
        try:
            parser.parse_override(override)
        except HydraException as error:
            advice = (
                f"type {spelled(override)}" if "=" in override else "type KEY=VALUE or GROUP=NAME; --help lists them"
            )
            raise ZeroshotError(f"{override}: Hydra's grammar can't read this; {advice}") from error


def spelled(argument: str) -> str:
    """An override with its value quoted, so that the shell and Hydra's grammar take it for the text that it is."""
    key, _, value = argument.partition("=")
    value = value.strip()
    if value.startswith("[") and value.endswith("]"):
        items = next(csv.reader([value[1:-1]], skipinitialspace=True), [])
        text = "[" + ",".join(_double_quoted(item.strip().strip("'")) for item in items) + "]"
    else:
        text = _double_quoted(value)
    override = f"{key}={text}"
    if "'" in override and not set(override) & set("$`!\\"):
        return '"' + override.replace('"', '\\"') + '"'
    return shlex.quote(override)


def _double_quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    # by its own name, so that the task can be sent to another process
    from zeroshot.__main__ import main as entry

    sys.exit(entry())
