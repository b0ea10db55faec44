"""The names of classes: read from a text file, checked, and OpenAI's own for ImageNet.

`imagenet_classes.txt` holds the 1,000 names of openai/CLIP's notebook «Prompt Engineering for ImageNet» in the order of
ImageNet's sorted folders, as `zero_shot_metadata` of open_clip_torch 3.3.0 (MIT) lists them. Two of its names stand
twice (`missile`, `sunglasses`): ImageNet has two classes of each.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from zeroshot.data.read_file import text
from zeroshot.errors import ZeroshotError, printable

IMAGENET = Path(__file__).with_name("imagenet_classes.txt")


def read(path: Path, key: str = "") -> tuple[str, ...]:
    """Class names of a UTF-8 text file, one a line, in the order of their ids; raises ZeroshotError.

    `key` is the option that names the file, if one does, for the error where it can't be read.
    """
    return checked(_lines(path, key), path)


def checked(names: Sequence[str], source: Path) -> tuple[str, ...]:
    """The names, if they can tell classes apart; else ZeroshotError that names `source` and the first bad name.

    There must be two or more, none empty, none with control characters, none twice: but for OpenAI's list, whole.
    """
    first: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if not name.strip():
            raise ZeroshotError(f"{printable(source)}: class name {place} is empty")
        if not _is_text(name):
            raise ZeroshotError(f"{printable(source)}: class name {place}, «{printable(name)}», is not plain text")
        if first.setdefault(name, place) != place and tuple(names) != _imagenet():
            raise ZeroshotError(
                f"{printable(source)}: class names {first[name]} and {place} are both «{printable(name)}»"
            )
    if len(names) < 2:
        listed = ", ".join(f"«{printable(name)}»" for name in names) or "none"
        raise ZeroshotError(f"{printable(source)}: to classify takes two or more classes, here is {listed}")
    return tuple(names)


def _lines(path: Path, key: str = "") -> list[str]:
    return [line.strip() for line in text(path, key).rstrip().split("\n")]


@cache
def _imagenet() -> tuple[str, ...]:
    return tuple(_lines(IMAGENET))


def _is_text(name: str) -> bool:
    """Whether a name can be written to a table: no control characters, no lone surrogates (bytes that are no UTF-8)."""
    return not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in name)
