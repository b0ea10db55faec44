"""The error that people see: a single line that says what is wrong, where, and what to type next."""

import re
import shlex

LONGEST_TEXT = 400  # characters of a text in an error


class ZeroshotError(Exception):
    """A mistake in the input or the machine that a person can correct; its text is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(filter(None, map(str.strip, message.splitlines()))))


def printable(text: object, longest: int = LONGEST_TEXT) -> str:
    """A text from a file as any terminal can print it: unprintable characters escaped, the middle of a long one cut."""
    whole = str(text)
    if len(whole) > longest:
        whole = f"{whole[: longest // 2]} … {whole[-(longest // 2) :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in whole)


def override(key: str, value: object) -> str:
    """`key=value` as it is typed in a shell, the value quoted where the shell or Hydra's grammar would not take it."""
    text = str(value)
    if "/" in text and re.fullmatch(r"[\w./@:+-]+", text, re.ASCII):  # others may be numbers, null or true
        return f"{key}={text}"
    return shell_quoted(f"{key}={double_quoted(text)}")


def shell_quoted(argument: str) -> str:
    """An argument as a shell takes it, quoted where it must be, in double quotes where that reads better."""
    if "'" in argument and not set(argument) & set("$`!\\"):
        return '"' + argument.replace('"', '\\"') + '"'
    return shlex.quote(argument)


def double_quoted(text: str) -> str:
    """A text in double quotes, as Hydra's grammar reads it: a backslash is one but before a quote or at the end."""
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + found[2].replace('"', '\\"'), text) + '"'
