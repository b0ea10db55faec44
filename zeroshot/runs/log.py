"""The log of a run that Python started: into its folder, and to the terminal where nobody configured logging."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zeroshot.runs.folder import LOG

PACKAGE_LOGGER = "zeroshot"


@contextmanager
def log_file(folder: Path) -> Iterator[None]:
    """Keeps the log in the run's folder."""
    handler = logging.FileHandler(folder / LOG, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(PACKAGE_LOGGER), logging.getLogger("ray")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def log_to_terminal() -> None:
    logger = logging.getLogger(PACKAGE_LOGGER)
    if not any(isinstance(handler, _TerminalHandler) for handler in logger.handlers):
        logger.addHandler(_TerminalHandler())
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)


class _TerminalHandler(logging.Handler):
    """Prints this package's log where nobody has configured logging, as MindFormers prints its own."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            print(self.format(record), file=sys.stdout if record.levelno < logging.WARNING else sys.stderr)
