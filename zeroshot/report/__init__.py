"""The pages that one looks at: of a run, of a sweep, of everything; drawn from what lies in a folder.

What is drawn comes after the record: a failure here is one warning and costs no run. All that draws is imported when it
is wanted, since matplotlib takes a moment to load.
"""

import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from zeroshot.data.image_set import Picture

log = logging.getLogger(__name__)

PAGE = "report.html"
INDEX = "index.html"


def draw_run(folder: Path, images: Sequence[Picture] | None = None) -> Path | None:
    """Writes a run's `report.html`, and `figures/` for papers; None, with a warning, if that fails.

    `images` are an evaluation's, in the order of `predictions.csv`; the few that are shown are read.
    """
    return _drawn("run", folder / PAGE, images)


def draw_sweep(folder: Path) -> Path | None:
    """Writes a sweep's `report.html` of what its jobs have left so far; None, with a warning, if that fails."""
    return _drawn("sweep", folder / PAGE)


def draw_index(root: Path) -> Path | None:
    """Writes `index.html` of every run under a folder; None, with a warning, if that fails.

    Runs and sweeps there that have no page of their own get one, without example images.
    """
    return _drawn("index", root / INDEX, draw_run, draw_sweep)


def _drawn(kind: str, page: Path, *more: Any) -> Path | None:
    try:
        import_module(f"{__name__}.{kind}").draw(page, *more)
    except Exception as error:  # whatever it is, the run is done and its record written
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        log.warning("%s could not be drawn (%s); the records are whole", page, reason)
        return None
    return page
