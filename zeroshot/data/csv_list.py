"""A CSV file that lists images and their labels, such as `path,label`."""

import csv
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.class_names import WNID, NamesOption, name_classes, pairs_or_none, read
from zeroshot.data.file_names import expanded
from zeroshot.data.image_files import ImageFiles
from zeroshot.data.image_set import ImageSet, empty_classes, fingerprint
from zeroshot.data.read_file import text
from zeroshot.errors import ZeroshotError, printable

Row = tuple[int, str, str]  # line number in the file, path, label
NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)
DELIMITERS = (",", ";", "\t")
PATH_COLUMNS = ("path", "file", "filepath", "filename", "image")
LABEL_COLUMNS = ("label", "class", "category")

log = logging.getLogger(__name__)


def load(path: Path, class_names: NamesOption = None, name: str = "csv", split: str = "test") -> ImageSet:
    """The images that a UTF-8 CSV file lists, in its order, opened on access.

    Columns are separated by commas, semicolons or tabs. The header has a column for the image (`path`, `file`,
    `filepath`, `filename`, `image`) and one for the label (`label`, `class`, `category`), in any case; others are
    ignored. Paths are relative to the CSV file's folder, absolute, or begin with `~`. Labels are class names; without
    `class_names` the classes are the distinct labels, sorted. With a file of `label,name` each label is looked up. With
    a file with a name a line those are the classes, and labels are names or, if not all of them are, ids from 0 on; a
    class without an image is warned of, since all names are candidates. ImageNet's WordNet ids are matched as
    `name_classes` says.

    Raises:
        ZeroshotError: a column is missing, a row is empty or uneven, a label is not a class or a bare number without
            names, or an image file does not exist; the line names file and line.
    """
    rows = list(_rows(path))
    if not rows:
        raise ZeroshotError(f"{printable(path)} lists no images")
    known: dict[str, Any] = {}
    by_wordnet = all(WNID.fullmatch(label) for _, _, label in rows)
    if isinstance(class_names, Path) and pairs_or_none(class_names) is None and not by_wordnet:
        classes = read(class_names, "dataset.class_names")
        labels = _ids(rows, classes, path)
    else:
        named = name_classes(sorted({label for _, _, label in rows}), class_names, path)
        ids = {source: id for id, source in enumerate(named.sources)}
        classes, labels = named.names, np.array([ids[label] for _, _, label in rows], dtype=np.int64)
        known = {"known_duplicates": named.known_duplicates, "class_mapping": named.mapping}
        known["class_sources"] = named.sources
    if unused := empty_classes(labels, classes):
        log.warning(
            "%s lists no image of class «%s», nor of %d more", printable(path), printable(unused[0]), len(unused) - 1
        )
    images = ImageFiles(path.parent, [_existing(image, path, line) for line, image, _ in rows])
    return ImageSet(
        name=name,
        split=split,
        label_kind="class",
        classes=classes,
        labels=labels,
        images=images,
        indices=np.arange(len(labels), dtype=np.int64),
        fingerprint=fingerprint(classes, labels, images.digests()),
        **known,
    )


def _rows(path: Path) -> Iterator[Row]:
    content = text(path, "dataset.root").rstrip() + "\n"
    first_line = content.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    reader = csv.reader(io.StringIO(content), delimiter=delimiter, strict=True, skipinitialspace=True)
    header: list[str] | None = None
    line = 1
    try:
        for fields in reader:
            if header is None:
                header = [field.strip() for field in fields]
                columns = _columns(header, path)
            elif len(fields) != len(header):
                held = f"has {len(fields)} fields, the header {len(header)}" if fields else "is empty"
                raise ZeroshotError(f"{printable(path)}, line {line}, {held}")
            else:
                image, label = fields[columns[0]], fields[columns[1]].strip()
                if not image.strip() or not label:
                    raise ZeroshotError(
                        f"{printable(path)}, line {line}, has no {'label' if image.strip() else 'path'}"
                    )
                yield line, image, label
            line = reader.line_num + 1  # a quoted field may span lines
    except csv.Error as error:
        raise ZeroshotError(f"{printable(path)}, line {line}, is not CSV ({error})") from error


def _columns(header: list[str], path: Path) -> tuple[int, int]:
    """The places of the columns of images and labels."""
    found = []
    for names in (PATH_COLUMNS, LABEL_COLUMNS):
        places = [place for place, column in enumerate(header) if column.lower() in names]
        if len(places) != 1:
            raise ZeroshotError(
                f"{printable(path)}, line 1, must be a header with one column of {', '.join(names)}; "
                f"add a first line such as path,label; it is now {printable(','.join(header)[:200])}"
            )
        found.append(places[0])
    return found[0], found[1]


def _ids(rows: list[Row], classes: tuple[str, ...], path: Path) -> NDArray[np.int64]:
    """Class ids [N] of labels that are all names, or else all ids."""
    labels = {label for _, _, label in rows}
    by_id = all(NUMBER.fullmatch(label) for label in labels) and not labels.issubset(classes)
    places = {str(place) if by_id else name: place for place, name in enumerate(classes)}
    expected = f"an id from 0 to {len(classes) - 1}" if by_id else f"one of the {len(classes)} class names"
    repeated = {name for name, count in Counter(classes).items() if count > 1 and not by_id}
    for line, _, label in rows:
        if label not in places:
            raise ZeroshotError(f"{printable(path)}, line {line}: the label «{printable(label)}» is not {expected}")
        if label in repeated:
            raise ZeroshotError(
                f"{printable(path)}, line {line}: two classes are named «{printable(label)}»: give ids as labels"
            )
    return np.array([places[label] for _, _, label in rows], dtype=np.int64)


def _existing(image: str, path: Path, line: int) -> str:
    """The image's path, `~` expanded, if there is a file."""
    file = path.parent / expanded(image)
    if not os.path.isfile(file):
        raise ZeroshotError(f"{printable(path)}, line {line}: there is no image file {printable(file)}")
    return str(expanded(image))
