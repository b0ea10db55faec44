"""Candidate labels and class names: checked, and compared by the texts that the model reads."""

import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zeroshot.errors import ZeroshotError, printable
from zeroshot.scoring.prompts import Spelling, fill_templates, spell

Script = Literal["LATIN", "CJK"]  # how the Unicode names of its letters begin

ONE_LABEL = "there is one label alone, whose probability is 1 for any image: give others to compare it with"


def parse_labels(labels: Any, key: str, spelling: Spelling = "raw") -> list[str]:
    """The labels as a list of text.

    Args:
        labels: a list, tuple, generator, numpy array or pandas column of text.
        key: what errors call the labels.
        spelling: how a label enters a template.

    Raises:
        ZeroshotError: they have another type, no order, an item that is not text, or two that the model reads as equal.
    """
    single = isinstance(labels, np.ndarray) and labels.ndim == 0
    if single or isinstance(labels, str | bytes | dict | set | frozenset) or not isinstance(labels, Iterable):
        raise ZeroshotError(f"{key} is of type {type(labels).__name__}: give a list of text such as ['cat', 'dog']")
    listed = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    for label in listed:
        if not isinstance(label, str):
            raise ZeroshotError(f"{key} has {label!r} of type {type(label).__name__}: give text, in quotes")
        if not label.strip():
            raise ZeroshotError(f"{key} has an empty label: remove it")
    if not listed:
        raise ZeroshotError(f"{key} has no label: give at least one")
    check_distinct(listed, spelling, key)
    return [str(label) for label in listed]


def read_labels(file: Path, key: str, spelling: Spelling = "raw") -> list[str]:
    """The labels of a UTF-8 text file, one a line; empty lines are skipped.

    Raises:
        ZeroshotError: it can't be read, or a label can't be used.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ZeroshotError(f"{key}={file} can't be read as UTF-8 text ({error})") from error
    return parse_labels([line.strip() for line in lines if line.strip()], str(file), spelling)


def parse_top_k(top_k: Any, key: str = "top_k") -> int | None:
    """How many of the best labels are returned; None is all.

    Raises:
        ZeroshotError: it is not a positive integer.
    """
    if top_k is None:
        return None
    if isinstance(top_k, bool) or not isinstance(top_k, int | np.integer) or top_k < 1:
        raise ZeroshotError(f"{key}={top_k!r} can't be used: give an integer of 1 or more, or None for all labels")
    return int(top_k)


def few_letters(texts: Sequence[str], script: Script) -> bool:
    """Whether most letters of the texts are of other scripts than this one; a Chinese one counts as three of others."""
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    known = sum(unicodedata.name(letter, "").startswith(script) for letter in letters)
    return bool(letters) and known * (3 if script == "CJK" else 1) < len(letters) - known


def equal_classes(class_names: Sequence[str], spelling: Spelling) -> list[tuple[int, ...]]:
    """The ids of classes whose texts differ at most in case and white space, which no model distinguishes."""
    return _groups(_plain(name, spelling) for name in class_names)


def check_distinct(
    class_names: Sequence[str], spelling: Spelling, key: str, known: frozenset[str] = frozenset()
) -> list[str]:
    """Refuses classes of equal texts, of which only the first could ever be predicted.

    Returns a line for each pair whose name is in `known`: the duplicates that a data set is known to have.

    Raises:
        ZeroshotError: other classes have equal texts.
    """
    warnings = []
    for ids in equal_classes(class_names, spelling):
        names = list(_named(class_names, ids))
        if {class_names[id] for id in ids} <= known:
            warnings.append(f"classes {' and '.join(names)} have equal texts: only the first can be predicted")
        else:
            raise ZeroshotError(f"{key}: {' and '.join(names)} are equal for the model: rename or remove all but one")
    return warnings


def check_tokens(
    class_names: Sequence[str],
    templates: Sequence[str],
    spelling: Spelling,
    tokens: Callable[[list[str]], Iterable[Hashable]],
) -> None:
    """Refuses classes that the model's tokenizer makes equal: «C++» and «C#» where it drops punctuation.

    Classes that `check_distinct` finds are left to it.

    Raises:
        ZeroshotError: there are such classes, or a text is too long for the model.
    """
    for ids in _groups(tokens(fill_templates(class_names, templates[:1], spelling))):
        if len({_plain(class_names[id], spelling) for id in ids}) > 1:
            named = " and ".join(_named(class_names, ids))
            raise ZeroshotError(f"{named} have the same tokens, so the model can't tell them apart: rename all but one")


def _groups(keys: Iterable[Hashable]) -> list[tuple[int, ...]]:
    """The places of equal keys, of those that occur more than once."""
    places: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return [tuple(each) for each in places.values() if len(each) > 1]


def _plain(class_name: str, spelling: Spelling) -> str:
    """The class name in lower case, with single spaces."""
    return " ".join(spell(class_name, spelling).lower().split())


def _named(class_names: Sequence[str], ids: Iterable[int]) -> Iterator[str]:
    for id in ids:
        yield f"{id} «{printable(class_names[id])}»"
