"""Tables that fit the terminal: every line within it, nothing gone without a word."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runs.test_table import job
from zeroshot.runs import terminal
from zeroshot.runs.terminal import BOLD, PLAIN, RED, Column, cells, draw

ROOT = Path(__file__).parents[1]
COLUMNS = [
    Column("model", right=False),
    Column("top-1"),
    Column("seconds", drop_priority=1),
    Column("status", right=False, long=True),
]
PRINT_TABLE = [
    sys.executable,
    "-c",
    "import pathlib, sys\nfrom zeroshot.runs import table\n"
    "print(table.format_table(pathlib.Path(sys.argv[1])), end='')",
]
LINES = [["clip_vit_b_32", "57.24", "12.0", "ok"], ["clip_vit_l_14", "–", "–", "weights.pt is cut short: get it again"]]


def test_without_a_width_everything_is_there_and_plain() -> None:
    assert draw(COLUMNS, LINES).splitlines() == [
        "model          top-1  seconds  status",
        "clip_vit_b_32  57.24     12.0  ok",
        "clip_vit_l_14      –        –  weights.pt is cut short: get it again",
    ]


def test_a_long_text_is_shortened_before_a_column_is_dropped() -> None:
    lines = draw(COLUMNS, LINES, width=50).splitlines()
    assert lines[2] == "clip_vit_l_14      –        –  weights.pt is cut …"
    assert "seconds" in lines[0]


def test_a_column_without_room_is_dropped_and_named() -> None:
    lines = draw(COLUMNS, LINES, width=35).splitlines()
    assert lines[0] == "model          top-1  status"
    assert lines[-1] == "no room for seconds"


def test_colours_are_around_whole_lines() -> None:
    lines = draw(COLUMNS, LINES, ["", RED]).splitlines()
    assert lines[0].startswith(BOLD)
    assert lines[1] == "clip_vit_b_32  57.24     12.0  ok"
    assert lines[2].startswith(RED)
    assert lines[2].endswith(PLAIN)


@given(st.lists(st.lists(st.text("aé向 ", max_size=30), min_size=4, max_size=4), max_size=4), st.integers(10, 120))
def test_no_line_is_wider_than_the_terminal(lines: list[list[str]], width: int) -> None:
    columns = [
        Column("name", right=False),
        Column("one", False, 2),
        Column("two", False, 1),
        Column("last", right=False),
    ]
    assert max(cells(line) for line in draw(columns, lines, width=width).splitlines()) <= width


def test_chinese_letters_take_two_columns_and_accents_none() -> None:
    assert [cells(text) for text in ("abc", "向日葵", "e\u0301")] == [3, 6, 1]
    assert terminal.shortened("向日葵", 4) == "向…"
    assert terminal.aligned("向", 4, right=True) == "  向"


def test_a_wide_matrix_is_turned_on_a_narrow_terminal(tmp_path: Path) -> None:
    for place, prompt in enumerate(("openai_imagenet", "openai_imagenet_7", "mindformers")):
        job(tmp_path, f"{place}", prompt, 0.25 * place, prompt=prompt)
    shown = on_a_terminal(tmp_path, 40, NO_COLOR="1").splitlines()
    assert shown[-4:] == [
        "prompt              tiny",
        "openai_imagenet     0.00",
        "openai_imagenet_7  25.00",
        "mindformers        50.00",
    ]


def on_a_terminal(sweep: Path, width: int, **environment: str) -> str:
    """What `main` prints of a sweep where stdout is a terminal so wide."""
    outer, inner = pty.openpty()
    surroundings = {**os.environ, "COLUMNS": str(width), "TERM": "xterm", "PYTHONPATH": str(ROOT), **environment}
    subprocess.run([*PRINT_TABLE, str(sweep)], env=surroundings, stdout=inner, check=True)
    os.close(inner)
    shown = os.read(outer, 100_000).decode()
    os.close(outer)
    return shown.replace("\r\n", "\n")


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_a_sweeps_table_is_fitted_and_coloured_on_a_terminal_and_markdown_in_a_pipe(
    tmp_path: Path, no_colour: str
) -> None:
    job(tmp_path, "0_tiny_plain", "a", 0.75)
    job(tmp_path, "1_tiny_plain", "b", error="weights.pt is cut short:" + " get it again" * 9)
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}
    piped = subprocess.run([*PRINT_TABLE, str(tmp_path)], env=surroundings, capture_output=True, check=True)
    assert b"\033" not in piped.stdout
    assert b"get it again get it again |" in piped.stdout
    shown = on_a_terminal(tmp_path, 60, NO_COLOR=no_colour)
    assert (RED in shown) == (not no_colour)
    plain = shown.replace(RED, "").replace(BOLD, "").replace(terminal.DIM, "").replace(PLAIN, "")
    assert all(cells(line) <= 60 for line in plain.splitlines())
    assert "no room for" in plain
    assert "75.00" in plain
