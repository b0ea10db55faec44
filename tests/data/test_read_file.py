"""What a person reads of a file's name or content is one short, printable line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeroshot.errors import printable


@given(text=st.text(st.characters(), max_size=2000))
def test_anything_is_printed_as_one_short_line_that_can_be_printed(text: str) -> None:
    line = printable(text)
    assert line.isprintable()
    assert line.encode("utf-8").decode("utf-8") == line
    assert len(line) <= 10 * 403


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a b/ü/日本.png", "/a b/ü/日本.png"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("caf\udce9", "caf\\udce9"),
        ("a" * 400, "a" * 400),
        ("a" * 300 + "b" * 300, "a" * 200 + " … " + "b" * 200),
    ],
)
def test_printable_text_stays_and_the_rest_is_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected
