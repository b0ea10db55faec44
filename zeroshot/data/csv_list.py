"""A CSV file that lists images and their labels, under the header `path,label`."""

import csv
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zeroshot.data import class_names as names_file
from zeroshot.data.image_files import ImageFiles
from zeroshot.data.image_set import ImageSet, empty_classes, fingerprint
from zeroshot.data.read_file import text
from zeroshot.errors import ZeroshotError, printable

Row = tuple[int, str, str]  # line number in the file, path, label
NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)

log = logging.getLogger(__name__)


def load(path: Path, class_names: Path | None = None, name: str = "csv", split: str = "test") -> ImageSet:
    """The images that a UTF-8 CSV file lists, in its order, opened when asked.

    Columns `path` and `label`, others are ignored. Paths are relative to the CSV file's folder, absolute, or begin with
    `~`. Labels are class names; without `class_names` the classes are the distinct labels, sorted. With `class_names`,
    a text file with a name a line, labels may be ids instead, from 0 on: they are ids if not all of them are names. A
    class that no image has is then warned of, since all names are candidates. The fingerprint depends on the images'
    content, not on where the files lie.

    Raises ZeroshotError with file and line: a missing column, an empty or uneven row, a label that is no class, an
    image file that is not there.
    """
    rows = list(_rows(path))
    if not rows:
        raise ZeroshotError(f"{printable(path)} lists no images")
    if class_names is None:
        if all(NUMBER.fullmatch(label) for _, _, label in rows):
            raise ZeroshotError(
                f"{printable(path)}: all labels are numbers, such as {printable(rows[0][2])}: "
                "set dataset.class_names to a text file with the classes' names, one a line"
            )
        classes = names_file.checked(sorted({label for _, _, label in rows}), path)
    else:
        classes = names_file.read(class_names, "dataset.class_names")
    labels = _ids(rows, classes, path)
    if unused := empty_classes(labels, classes):
        log.warning(
            "%s lists no image of class «%s», nor of %d more", printable(path), printable(unused[0]), len(unused) - 1
        )
    images = ImageFiles(path.parent, [_found(image, path, line) for line, image, _ in rows])
    return ImageSet(
        name=name,
        split=split,
        label_kind="class",
        classes=classes,
        labels=labels,
        images=images,
        indices=np.arange(len(labels), dtype=np.int64),
        fingerprint=fingerprint(classes, labels, images.digests()),
    )


def _rows(path: Path) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text(path, "dataset.root").rstrip() + "\n"), strict=True, skipinitialspace=True)
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
    for column in ("path", "label"):
        if header.count(column) != 1:
            raise ZeroshotError(
                f"{printable(path)}, line 1, must be a header with one column «{column}», as in path,label; "
                f"it is {printable(','.join(header)[:200])}"
            )
    return header.index("path"), header.index("label")


def _ids(rows: list[Row], classes: tuple[str, ...], path: Path) -> NDArray[np.int64]:
    """Class ids [N] of labels that are all names, or else all ids."""
    labels = {label for _, _, label in rows}
    by_id = all(NUMBER.fullmatch(label) for label in labels) and not labels.issubset(classes)
    places = {str(place) if by_id else name: place for place, name in enumerate(classes)}
    wanted = f"an id from 0 to {len(classes) - 1}" if by_id else f"one of the {len(classes)} class names"
    twice = {name for name, count in Counter(classes).items() if count > 1 and not by_id}
    for line, _, label in rows:
        if label not in places:
            raise ZeroshotError(f"{printable(path)}, line {line}: the label «{printable(label)}» is not {wanted}")
        if label in twice:
            raise ZeroshotError(
                f"{printable(path)}, line {line}: two classes are called «{printable(label)}»: label by id instead"
            )
    return np.array([places[label] for _, _, label in rows], dtype=np.int64)


def _found(image: str, path: Path, line: int) -> str:
    """The image's path, `~` expanded, if there is a file."""
    expanded = image if "\0" in image else os.path.expanduser(image)
    if not os.path.isfile(path.parent / expanded):
        raise ZeroshotError(
            f"{printable(path)}, line {line}: there is no image file {printable(path.parent / expanded)}"
        )
    return expanded
