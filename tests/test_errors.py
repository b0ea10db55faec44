"""The one line that people see."""

from zeroshot.errors import ZeroshotError


def test_an_error_is_one_line_and_keeps_the_spaces_of_a_name() -> None:
    assert str(ZeroshotError("type dataset.root=/my  photos/照片　集\n  or another:\r\n\n\tx ")) == (
        "type dataset.root=/my  photos/照片　集 or another: x"
    )
