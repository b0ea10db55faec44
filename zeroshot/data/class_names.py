"""The names of classes: read from a file, matched to folders or labels, checked.

`imagenet_classes.txt` has the 1,000 names of openai/CLIP's notebook "Prompt Engineering for ImageNet" as the module
`zero_shot_metadata` of open_clip_torch 3.3.0 (MIT) lists them; `imagenet_wnids.txt` has the WordNet ids of the same
classes in the same order, which is that of the sorted ids, as timm 1.0 lists them. Two names occur twice (`missile`,
`sunglasses`): ImageNet has two classes of each. `cifar10_chinese.csv` and `cifar100_chinese.csv` name CIFAR classes in
Chinese; they were translated from the English names for this project, and are not the list of CLIP_benchmark.
"""

import csv
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from zeroshot.data.read_file import text
from zeroshot.errors import ZeroshotError, printable

IMAGENET = Path(__file__).with_name("imagenet_classes.txt")
IMAGENET_WNIDS = Path(__file__).with_name("imagenet_wnids.txt")
IMAGENET_DUPLICATES = frozenset({"missile", "sunglasses"})
KEY = "dataset.class_names"
FOLDERS: Literal["folders"] = "folders"  # the value of `KEY` that takes folders' names or labels as they are
PAIRS_SHOWN = 3

NUMBER = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII)
WNID = re.compile(r"n\d{8}", re.ASCII)

NamesOption = Path | Literal["folders"] | None


@dataclass(frozen=True)
class NamedClasses:
    """The names of classes, the folder or label of each, the rule that matched them, known duplicates."""

    names: tuple[str, ...]
    sources: tuple[str, ...]
    mapping: str
    known_duplicates: frozenset[str] = frozenset()


def name_classes(sources: Sequence[str], option: NamesOption, where: Path) -> NamedClasses:
    """Names the classes of some folders or labels, in the order of their ids.

    With a file of `folder,name` (CSV, TSV or a JSON mapping) each is looked up. A file with a name a line is matched by
    name if it has the sources' very names, by number if they are 0 … n−1 or 1 … n, by WordNet id for ImageNet.

    Raises:
        ZeroshotError: a source has no name, bare numbers or WordNet ids have no names, or a list of names has an order
            that nothing says.
    """
    sources = _ordered(sources)
    if option is None or option == FOLDERS:
        bare = all(NUMBER.fullmatch(source) or WNID.fullmatch(source) for source in sources)
        if option is None and sources and bare:
            raise ZeroshotError(
                f"{printable(where)}: classes such as «{printable(sources[0])}» have no names: set {KEY} to a file of "
                f"folder,name (for ImageNet: {KEY}=package:data/{IMAGENET.name}), or {KEY}=folders to use them as names"
            )
        return _checked(sources, sources, "folder names or labels as they are", where)
    if (pairs := pairs_or_none(option)) is not None:
        return _from_pairs(sources, pairs, f"by the pairs in {option.name}", option)
    names = _read_lines(option)
    if all(WNID.fullmatch(source) for source in sources) and len(names) == len(_wnids()):
        return _from_pairs(sources, dict(zip(_wnids(), names, strict=True)), "by WordNet id", option)
    by_key = {_normal(name): name for name in names}
    if len(by_key) == len(names) == len(sources) and by_key.keys() == {_normal(source) for source in sources}:
        return _checked([by_key[_normal(source)] for source in sources], sources, "by name", option)
    if len(names) != len(sources):
        raise ZeroshotError(
            f"{printable(option)} has {len(names)} names, {printable(where)} has {len(sources)} classes: "
            "give a file of folder,name"
        )
    if _are_consecutive(sources):
        return _checked(names, sources, "by number", option)
    pairs_shown = list(zip(sources, names, strict=True))[:PAIRS_SHOWN]
    shown = ", ".join(f"{printable(source)} → {printable(name)}" for source, name in pairs_shown)
    raise ZeroshotError(
        f"{printable(option)}: nothing says which name belongs to which class; in this order it would be {shown}, …: "
        "give a file of two columns, folder,name (CSV, TSV, or a JSON mapping)"
    )


def rename(classes: Sequence[str], file: Path) -> NamedClasses:
    """The names of known classes by the pairs of `folder,name` in a file, in the order of their ids.

    Raises:
        ZeroshotError: the file is a list without pairs, can't be read, or lacks a class.
    """
    pairs = pairs_or_none(file)
    if pairs is None:
        raise ZeroshotError(f"{printable(file)}: give a file of two columns, folder,name, by the names of the classes")
    return _from_pairs(classes, pairs, f"by the pairs in {file.name}", file)


def read(path: Path, key: str = "") -> tuple[str, ...]:
    """The names in a UTF-8 text file with one a line, in the order of their ids; raises ZeroshotError.

    `key` is the option that names the file, if there is one.
    """
    names = _read_lines(path, key)
    imagenet = names == IMAGENET.read_text(encoding="utf-8").splitlines()
    return checked(names, path, IMAGENET_DUPLICATES if imagenet else frozenset())


def checked(names: Sequence[str], where: Path, known: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The names, if there are two or more, none empty, none with control characters, none twice but those in `known`.

    Raises:
        ZeroshotError: they can't be used; the line names the first such name.
    """
    first: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise ZeroshotError(f"{printable(where)}: class name {number} is empty")
        if any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in name):
            raise ZeroshotError(f"{printable(where)}: class name {number}, «{printable(name)}», is not plain text")
        if first.setdefault(name, number) != number and name not in known:
            raise ZeroshotError(
                f"{printable(where)}: class names {first[name]} and {number} are both «{printable(name)}»"
            )
    if len(names) < 2:
        listed = ", ".join(f"«{printable(name)}»" for name in names) or "none"
        raise ZeroshotError(f"{printable(where)}: an evaluation needs two or more classes, there is {listed}")
    return tuple(names)


def _checked(names: Sequence[str], sources: Sequence[str], mapping: str, where: Path) -> NamedClasses:
    known = IMAGENET_DUPLICATES if all(WNID.fullmatch(source) for source in sources) else frozenset[str]()
    return NamedClasses(checked(names, where, known), tuple(sources), mapping, known)


def _ordered(sources: Sequence[str]) -> list[str]:
    """Sorted as text, or as numbers where they are consecutive ones."""
    return sorted(sources, key=int) if _are_consecutive(sources) else sorted(sources)


def _are_consecutive(sources: Sequence[str]) -> bool:
    """Whether the sources are the integers 0 … n−1 or 1 … n, each once."""
    if not sources or not all(source.isascii() and source.isdecimal() for source in sources):
        return False
    numbers = sorted(map(int, sources))
    return numbers in ([*range(len(sources))], [*range(1, len(sources) + 1)])


def _normal(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())


def _wnids() -> list[str]:
    return IMAGENET_WNIDS.read_text(encoding="ascii").split()


def _from_pairs(sources: Sequence[str], pairs: dict[str, str], mapping: str, file: Path) -> NamedClasses:
    missing = [source for source in sources if source not in pairs]
    if missing:
        raise ZeroshotError(f"{printable(file)} has no name for «{printable(missing[0])}» and {len(missing) - 1} more")
    part = "" if len(pairs) == len(sources) else f", {len(sources)} of its {len(pairs)} classes"
    return _checked([pairs[source] for source in sources], sources, mapping + part, file)


def _read_lines(path: Path, key: str = KEY) -> list[str]:
    return [line.strip() for line in text(path, key).rstrip().split("\n")]


def pairs_or_none(path: Path) -> dict[str, str] | None:
    """The second column by the first of a CSV, TSV or JSON file; None for a file with a name a line."""
    content = text(path, KEY)
    suffix = path.suffix.lower()
    if suffix == ".json":
        try:
            found = json.loads(content, object_pairs_hook=partial(_mapping, path))
        except (ValueError, RecursionError) as error:
            raise ZeroshotError(f"{printable(path)} is not JSON ({error})") from error
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
            raise ZeroshotError(f"{printable(path)} is not a JSON mapping of folders to names")
        return found
    lines = [line for line in content.split("\n") if line.strip()]
    tabs = bool(lines) and all(line.count("\t") == 1 for line in lines)
    if suffix not in (".csv", ".tsv") and not tabs:
        return None
    pairs: dict[str, str] = {}
    try:
        for number, fields in enumerate(csv.reader(lines, delimiter="\t" if tabs else ",", strict=True), start=1):
            if len(fields) != 2:
                raise ZeroshotError(f"{printable(path)}, line {number}, has {len(fields)} columns, not folder,name")
            source, name = (field.strip() for field in fields)
            if number == 1 and (source.lower(), name.lower()) == ("folder", "name"):
                continue
            if pairs.setdefault(source, name) != name:
                raise ZeroshotError(f"{printable(path)}, line {number}: «{printable(source)}» has two names")
    except csv.Error as error:
        raise ZeroshotError(f"{printable(path)} is not CSV ({error})") from error
    return pairs


def _mapping(path: Path, pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A mapping of a JSON file, in which no key may have two values."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise ZeroshotError(f"{printable(path)}: «{printable(key)}» has two names")
    return found


def same_file(path: Path, other: object) -> bool:
    """Whether two paths are one file."""
    try:
        return isinstance(other, Path) and os.path.samefile(path, other)
    except OSError:
        return False
