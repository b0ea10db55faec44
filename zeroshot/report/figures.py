"""Figures by matplotlib: each drawn once as SVG for the page, in its colours, and once as PNG for a paper."""

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from zeroshot.report.bars import Bar
from zeroshot.report.intervals import wilson
from zeroshot.runs import folder as run_folder

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a font that is not there is not the user's concern

DPI = 200
NAMED = 40  # classes whose names the axes of a matrix can hold
INCH = 72.0


@dataclass(frozen=True)
class Palette:
    """The colours of a figure: ink, quiet text, lines, what is right, what is wrong, the ground."""

    ink: str = "#1f1e1c"
    quiet: str = "#5f5c57"
    line: str = "#d8d4cc"
    right: str = "#2f5f98"
    wrong: str = "#b3502f"
    ground: str = "#ffffff"


PAPER = Palette()
PAGE = Palette("#000001", "#000002", "#000003", "#000004", "#000005", "#000006")  # stand for the page's own
VARIABLES = {colour: f"var(--{name})" for name, colour in vars(PAGE).items()}

Drawing = Callable[[Palette], Figure]


def svg(drawing: Drawing, title: str) -> Markup:
    """The figure as an SVG element that takes its colours and its font from the page, and has `title` as its name."""
    buffer = io.StringIO()
    with _set(PAGE), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        drawing(PAGE).savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(
        r' id="(?:figure|axes|patch|text|line2d|matplotlib|xtick|ytick|Poly\w+|Line\w+|legend)[^"]*"', "", text
    )
    text = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*|(?<=; )font-family: [^;\"]*; ", _only_size, text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    box, width = (re.search(rf'{name}="([^"]*?)(?:pt)?"', text) for name in ("viewBox", "width"))
    assert box is not None
    assert width is not None
    opening = (
        f'<svg role="img" aria-label="{escape(title)}" class="figure" viewBox="{box[1]}" '
        f'style="max-width: {float(width[1]) * 96 / INCH:.0f}px" xmlns="http://www.w3.org/2000/svg">'
    )
    return Markup(re.sub(r"<svg [^>]*>", opening, text, count=1))  # matplotlib escapes its texts


def png(drawing: Drawing, path: Path) -> None:
    """Writes the figure for a paper: on white, 200 pixels an inch."""
    buffer = io.BytesIO()
    with _set(PAPER):
        drawing(PAPER).savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    run_folder.write_bytes(path, buffer.getvalue())


def reliability(confidence: Sequence[float], accuracy: Sequence[float], images: Sequence[int]) -> Drawing:
    """Accuracy over confidence in bins of equal width, and how many images each holds."""

    def draw(palette: Palette) -> Figure:
        figure = Figure(figsize=(360 / INCH, 330 / INCH))
        upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
        edges = np.linspace(0, 1, len(images) + 1)
        middles, width = (edges[1:] + edges[:-1]) / 2, 0.86 / len(images)
        full = [i for i, count in enumerate(images) if count]
        heights = [accuracy[i] for i in full]
        upper.plot((0, 1), (0, 1), color=palette.quiet, linewidth=0.9, linestyle=(0, (4, 3)))
        upper.bar(middles[full], heights, width, color=palette.right, alpha=0.85)
        limits = [wilson(round(accuracy[i] * images[i]), images[i]) for i in full]
        spread = [[max(0.0, h - a) for h, (a, _) in zip(heights, limits, strict=True)]]
        spread.append([max(0.0, b - h) for h, (_, b) in zip(heights, limits, strict=True)])
        upper.errorbar(middles[full], heights, yerr=spread, fmt="none", ecolor=palette.ink, elinewidth=0.8)
        upper.plot([confidence[i] for i in full], heights, "o", color=palette.wrong, markersize=3.6, clip_on=False)
        upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share that is right")
        lower.bar(middles, images, width, color=palette.line)
        lower.set(ylabel="images", xlabel="probability of the prediction")
        lower.set_yticks([0, max(images)])
        for axes in (upper, lower):
            _plain(axes, palette)
        figure.tight_layout(pad=0.4, h_pad=0.8)
        return figure

    return draw


def recalls(shares: NDArray[np.float64], mean: float) -> Drawing:
    """The recall of every class, best first, as one outline, and their mean."""

    def draw(palette: Palette) -> Figure:
        figure = Figure(figsize=(620 / INCH, 150 / INCH))
        axes = figure.subplots()
        ordered = np.sort(shares)[::-1]
        axes.stairs(ordered, np.arange(len(ordered) + 1), fill=True, color=palette.right, alpha=0.85, linewidth=0)
        axes.axhline(mean, color=palette.wrong, linewidth=1)
        axes.set(xlim=(0, len(ordered)), ylim=(0, 1), ylabel="recall", xlabel="classes, best first")
        axes.set_yticks([0, 0.5, 1])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _plain(axes, palette)
        figure.tight_layout(pad=0.4)
        return figure

    return draw


def matrix(counts: NDArray[np.int64], names: Sequence[str]) -> Drawing:
    """Rows of labels, columns of predictions, as shares of a label's images: what is right in blue, the rest in red."""

    def draw(palette: Palette) -> Figure:
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        right = np.eye(len(counts), dtype=bool)
        figure = Figure(figsize=(6, 6))
        axes = figure.subplots()
        for mask, colour in ((~right, palette.wrong), (right, palette.right)):
            shades = LinearSegmentedColormap.from_list("", [palette.ground, colour])
            shown = np.where(mask, np.sqrt(shares), np.nan)
            axes.imshow(shown, shades, vmin=0, vmax=1, interpolation="nearest")
        axes.set(xlabel="prediction", ylabel="label")
        if len(names) <= NAMED:
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.set_yticks(range(len(names)), names)
        _plain(axes, palette, all_sides=True)
        figure.tight_layout(pad=0.4)
        return figure

    return draw


def bars(listed: Sequence[Bar]) -> Drawing:
    """A bar a run, with its interval, and a mark where a published figure stands."""

    def draw(palette: Palette) -> Figure:
        figure = Figure(figsize=(560 / INCH, (46 + 24 * len(listed)) / INCH))
        axes = figure.subplots()
        places = np.arange(len(listed))[::-1]
        shares = np.array([bar.share for bar in listed])
        spread = np.abs(np.array([bar.interval for bar in listed]).T - shares)
        axes.barh(places, shares, 0.62, color=palette.right, alpha=0.85)
        axes.errorbar(shares, places, xerr=spread, fmt="none", ecolor=palette.ink, elinewidth=0.9, capsize=2)
        marks = [(bar.published, place) for bar, place in zip(listed, places, strict=True) if bar.published is not None]
        if marks:
            axes.plot(*zip(*marks, strict=True), "D", color=palette.wrong, markersize=5, label="published")
            figure.legend(loc="upper right", frameon=False, labelcolor=palette.ink, borderpad=0)
        for bar, place in zip(listed, places, strict=True):
            axes.text(0.012, place, f"{100 * bar.share:.2f}", va="center", color=palette.ground)
        axes.set_yticks(places, [bar.name for bar in listed])
        axes.set(xlim=(0, 1), ylim=(-0.6, len(listed) - 0.4 + 0.6 * bool(marks)), xlabel="top-1")
        _plain(axes, palette)
        axes.tick_params(axis="y", length=0)
        figure.tight_layout(pad=0.4)
        return figure

    return draw


def table(rows: Sequence[str], columns: Sequence[str], shares: NDArray[np.float64]) -> Drawing:
    """Shares of rows × columns as shaded cells with their figures; NaN where there is none."""

    def draw(palette: Palette) -> Figure:
        figure = Figure(figsize=(1.6 + 0.95 * len(columns), 0.9 + 0.4 * len(rows)))
        axes = figure.subplots()
        shades = LinearSegmentedColormap.from_list("", [palette.ground, palette.right])
        least, most = float(np.nanmin(shares)), float(np.nanmax(shares))
        axes.imshow(shares, shades, vmin=least - 0.25 * (most - least) - 1e-6, vmax=most + 1e-6, aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            if not np.isnan(share):
                strong = share - least > 0.55 * (most - least)
                colour = palette.ground if strong else palette.ink
                axes.text(column, row, f"{100 * share:.2f}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
        axes.set_yticks(range(len(rows)), rows)
        _plain(axes, palette, all_sides=True)
        axes.tick_params(length=0)
        figure.tight_layout(pad=0.4)
        return figure

    return draw


def _plain(axes: Axes, palette: Palette, all_sides: bool = False) -> None:
    axes.spines[["top", "right"]].set_visible(all_sides)
    axes.spines[:].set_color(palette.line)
    axes.tick_params(colors=palette.quiet, length=2.5)
    axes.xaxis.label.set_color(palette.quiet)
    axes.yaxis.label.set_color(palette.quiet)


def _only_size(found: re.Match[str]) -> str:
    """Of a font in a style, its size: the family is the page's."""
    return f"font-size: {found[1]}" if found[1] else ""


@contextmanager
def _set(palette: Palette) -> Iterator[None]:
    settings: Any = {
        "font.family": _fonts(),
        "font.size": 8.5,
        "text.color": palette.ink,
        "text.parse_math": False,  # a label may hold $
        "axes.facecolor": "none",
        "figure.facecolor": palette.ground,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that no font here knows is drawn as boxes
        yield


@cache
def _fonts() -> list[str]:
    """The first sans serif that is there, and what the machine has for other scripts."""
    wanted = ("Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans", "Noto Sans CJK SC", "WenQuanYi Micro Hei")
    known = set(font_manager.get_font_names())
    return [name for name in wanted if name in known] or ["sans-serif"]
