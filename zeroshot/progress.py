"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Collection, Iterator
from typing import TypeVar

SECONDS_BETWEEN_LINES = 30.0  # where there is no terminal

log = logging.getLogger(__name__)
Item = TypeVar("Item")


def on_terminal() -> bool:
    """Whether stderr is a terminal, which gets a progress bar."""
    return sys.stderr.isatty()


def track(items: Collection[Item], description: str, unit: str = "img") -> Iterator[Item]:
    """Yields the items and shows how many of them are done."""
    if on_terminal():
        from tqdm import tqdm

        yield from tqdm(items, desc=description, unit=unit, dynamic_ncols=True)
        return
    last_line = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            log.info("%s: %d of %d", description, done, len(items))
        yield item
