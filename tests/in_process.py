"""`main` in the process of the tests, as in one of its own: arguments, folder, environment, streams, exit status.

A process of its own imports MindSpore and compiles its towers, which takes seconds. Here both are done once: encoders
of the same weights and settings are shared. What a process has of its own is new in each call. Signals, exit and
imports are not tested in this way.
"""

import io
import logging
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, BinaryIO

import pytest
from hydra._internal import utils as hydra_utils
from hydra.core.hydra_config import HydraConfig

from zeroshot import __main__, sweep
from zeroshot.devices import target
from zeroshot.models import encoder as module_of_encoder
from zeroshot.models.architecture import Architecture, Tensors
from zeroshot.models.checkpoints.identity import tensor_digest
from zeroshot.models.encoder import Encoder
from zeroshot.models.preprocess import Preprocessing
from zeroshot.stages import encoder as stage
from zeroshot.stages import inputs

_compiled: dict[tuple[Any, ...], Encoder] = {}


def shared_encoder(
    architecture: Architecture, tensors: Tensors, preprocessing: Preprocessing | None = None, **settings: Any
) -> Encoder:
    """The encoder of these weights and settings, built once."""
    key = (architecture, preprocessing, *sorted(settings.items()), tensor_digest(tensors))
    if key not in _compiled:
        _compiled[key] = Encoder(architecture, tensors, preprocessing, **settings)
    return _compiled[key]


def share_encoders(patch: pytest.MonkeyPatch) -> None:
    """Gives the package shared encoders, which it never frees."""
    patch.setattr(module_of_encoder, "Encoder", shared_encoder)
    patch.setattr(module_of_encoder, "release", lambda: None)


def run_main(arguments: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> "CompletedProcess[str]":
    """What `python -m zeroshot ARGUMENTS` does in a folder, without a process."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        share_encoders(patch)
        patch.chdir(cwd)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["zeroshot", *arguments])
        for module, name, new in (
            (sweep, "current", None),
            (sweep, "temporary", None),
            (sweep, "failed", False),
            (stage, "_last", None),
            (target, "_in_use", None),
            (inputs, "_fingerprints", {}),
            (HydraConfig.instance(), "cfg", None),
            (hydra_utils, "run_and_report", hydra_utils.run_and_report),  # as they are: `main` sets them for good
            (logging, "raiseExceptions", logging.raiseExceptions),
        ):
            patch.setattr(module, name, new)
        with _own_signals(), _own_warnings(), _own_logging(), _own_streams(out, err):
            status = __main__.main()
        return CompletedProcess(list(arguments), status, *(_text(stream) for stream in (out, err)))


def _text(stream: BinaryIO) -> str:
    stream.seek(0)
    return stream.read().decode()


@contextmanager
def _own_signals() -> Iterator[None]:
    """A handler of SIGTERM, under which `interrupts.handled` leaves the signals alone: these tests need Ctrl-C."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _own_warnings() -> Iterator[None]:
    """Python's own filters, and warnings on stderr, where pytest gathers them."""

    def show(message: Any, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno))

    with warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)
        yield


@contextmanager
def _own_logging() -> Iterator[None]:
    """Puts back the handlers and levels that Hydra replaces."""
    loggers = [logging.getLogger(name) for name in (None, "zeroshot", "hydra")]
    before = [(list(logger.handlers), logger.level) for logger in loggers]
    loggers[0].handlers = []
    try:
        yield
    finally:
        for logger, (handlers, level) in zip(loggers, before, strict=True):
            for handler in set(logger.handlers) - set(handlers):
                handler.close()
            logger.handlers = handlers
            logger.setLevel(level)


@contextmanager
def _own_streams(out: BinaryIO, err: BinaryIO) -> Iterator[None]:
    """The file descriptors 1 and 2, to which MindSpore writes too, and Python's streams on them."""
    held, streams = [os.dup(number) for number in (1, 2)], (sys.stdout, sys.stderr)
    for number, (stream, file) in enumerate(zip(streams, (out, err), strict=True), 1):
        stream.flush()
        os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8", write_through=True) for number in (1, 2)
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for number, copy in enumerate(held, 1):
            os.dup2(copy, number)
            os.close(copy)
