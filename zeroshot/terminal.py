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
    """A column: its title, whether its cells stand to the right, how soon it goes where room is short (0: never)."""

    title: str
    right: bool = True
    goes: int = 0


def draw(
    columns: Sequence[Column], lines: Sequence[Sequence[str]], colours: Sequence[str] = (), width: int | None = None
) -> str:
    """The table as text, every line with its newline; with a width, columns that have no room go, and it says which.

    `colours` has one for each line; without them the text is plain.
    """
    widths = [max(cells(text) for text in (column.title, *texts)) for column, texts in _upright(columns, lines)]
    shown = list(range(len(columns)))
    if width is not None:
        while _total([min(widths[i], _least(columns[i])) for i in shown]) > width:
            going = max(shown, key=lambda i: (columns[i].goes, i))
            if not columns[going].goes:
                break
            shown.remove(going)
        for i in sorted(shown, key=lambda i: -widths[i]):
            excess = _total([widths[j] for j in shown]) - width
            if excess > 0:
                widths[i] = max(min(widths[i], _least(columns[i])), widths[i] - excess)
    drawn = []
    for number, texts in enumerate([[column.title for column in columns], *lines]):
        line = GAP.join(aligned(shortened(texts[i], widths[i]), widths[i], columns[i].right) for i in shown).rstrip()
        colour = (BOLD, *colours)[number] if colours else ""
        drawn.append(f"{colour}{line}{PLAIN if colour else ''}\n")
    gone = [column.title for i, column in enumerate(columns) if i not in shown]
    if gone:
        told = shortened(f"no room for {', '.join(gone)}", width or 0)
        drawn.append(f"{DIM}{told}{PLAIN}\n" if colours else f"{told}\n")
    return "".join(drawn)


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


def _least(column: Column) -> int:
    return 10**9 if column.right else max(LEAST, cells(column.title))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _upright(columns: Sequence[Column], lines: Sequence[Sequence[str]]) -> list[tuple[Column, list[str]]]:
    return [(column, [line[i] for line in lines]) for i, column in enumerate(columns)]
