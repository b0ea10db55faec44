"""Tables for the terminal: aligned, as narrow as it is, coloured; plain where there is none."""

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

BOLD, DIM, RED, YELLOW, PLAIN = "\033[1m", "\033[2m", "\033[31m", "\033[33m", "\033[0m"
GAP = "  "
LEAST = 12  # what a long text may be shortened to


@dataclass(frozen=True)
class Column:
    """A column: its title, whether its cells are right-aligned, and how it is fitted to a narrow terminal.

    `long` texts are shortened first; then columns are dropped, the highest `drop_priority` first, 0 never.
    """

    title: str
    right: bool = True
    drop_priority: int = 0
    long: bool = False


def draw(
    columns: Sequence[Column], lines: Sequence[Sequence[str]], colours: Sequence[str] = (), width: int | None = None
) -> str:
    """The table as text, every line with its newline; with a width, no line is wider, and it says which columns went.

    `colours` has one for each line; without them the text is plain.
    """
    insides = [max([0, *(cells(line[i]) for line in lines)]) for i in range(len(columns))]
    widths = [max(cells(column.title), inside) for column, inside in zip(columns, insides, strict=True)]
    kept = list(range(len(columns)))
    if width is not None:
        least = [min(LEAST, wide) if column.long else wide for column, wide in zip(columns, widths, strict=True)]
        while _total([least[i] for i in kept]) > width and any(columns[i].drop_priority for i in kept):
            kept.remove(max(kept, key=lambda i: columns[i].drop_priority))
        for i in sorted(set(range(len(columns))) - set(kept), key=lambda i: columns[i].drop_priority):
            if _total([least[j] for j in (*kept, i)]) <= width:  # the last one to be dropped was wide
                kept = sorted((*kept, i))
        # where that is not enough, names too are shortened, and the titles of figures; figures never are
        floors = [inside if column.right else 4 for column, inside in zip(columns, insides, strict=True)]
        for bounds in (least, floors):
            for i in sorted(kept, key=lambda i: -widths[i]):
                excess = _total([widths[j] for j in kept]) - width
                widths[i] = min(widths[i], max(bounds[i], widths[i] - max(0, excess)))
    drawn = []
    for number, texts in enumerate([[column.title for column in columns], *lines]):
        line = GAP.join(aligned(shortened(texts[i], widths[i]), widths[i], columns[i].right) for i in kept).rstrip()
        colour = (BOLD, *colours)[number] if colours else ""
        drawn.append(f"{colour}{line}{PLAIN if colour else ''}\n")
    dropped = [column.title for i, column in enumerate(columns) if i not in kept]
    if dropped:
        note = shortened(f"no room for {', '.join(dropped)}", width or 0)
        drawn.append(f"{DIM}{note}{PLAIN}\n" if colours else f"{note}\n")
    return "".join(drawn)


def fits(columns: Sequence[Column], lines: Sequence[Sequence[str]], width: int) -> bool:
    """Whether the whole table has room."""
    return max(cells(line) for line in draw(columns, lines).splitlines()) <= width


def width_of_stdout() -> int | None:
    """The columns of the terminal that stdout is, or None."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def coloured() -> bool:
    """Whether stdout is a terminal that takes colours, and the user doesn't mind them (NO_COLOR)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def cells(text: str) -> int:
    """How many columns of a terminal a text takes: a Chinese letter two, an accent of its own none."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )


def aligned(text: str, width: int, right: bool) -> str:
    """A text with the spaces that make it so wide."""
    spaces = " " * (width - cells(text))
    return spaces + text if right else text + spaces


def shortened(text: str, width: int) -> str:
    """A text no wider than that, with an ellipsis where something is left out."""
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)
