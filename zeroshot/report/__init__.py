"""Pages and figures of a run, of a sweep and of all runs, drawn from the files in their folders.

Pages are drawn after the record is written: a failure is one warning and costs no run. The modules that draw are
imported when they are needed, since matplotlib takes a moment to load.
"""

import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from zeroshot.data.image_set import Picture
from zeroshot.runs.folder import PAGE

log = logging.getLogger(__name__)

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
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # it reports that it builds its cache
    try:
        import_module(f"{__name__}.{kind}").draw(page, *more)
    except Exception as error:  # of whatever kind: the record is written
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        log.warning("%s could not be drawn (%s); the records are complete", page, reason)
        return None
    return page
