"""The error that people see: a single line that says what is wrong, where, and what to type next."""

LONGEST_TEXT = 400  # characters of a text in an error


class ZeroshotError(Exception):
    """A mistake in the input or the machine that a person can correct; its text is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def printable(text: object, longest: int = LONGEST_TEXT) -> str:
    """A text from a file as any terminal can print it: unprintable characters escaped, the middle of a long one cut."""
    whole = str(text)
    if len(whole) > longest:
        whole = f"{whole[: longest // 2]} … {whole[-(longest // 2) :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole)
