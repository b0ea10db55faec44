"""Labelled images in a fixed order, whatever they are read from."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zeroshot.errors import ZeroshotError, printable

Picture = Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSet:
    """Images with one label each.

    `images[i]` is a PIL image or a uint8 array [H, W, 3], created on access; `labels` are int64 class ids [N];
    `label_kind` is fine or coarse for CIFAR, otherwise class; `classes` are the names by id, as the data set spells
    them; `indices` are the images' places in the whole split [N]; `fingerprint` is a sha256 over classes, labels and
    image content of the whole split. `known_duplicates` are names that two classes of the set share; `class_sources`
    are the folders or labels of the classes, from which `class_mapping` made the names; `skipped` are the files that
    were left out, each with the reason.
    """

    name: str
    split: str
    label_kind: str
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    images: Sequence[Picture]
    indices: NDArray[np.int64]
    fingerprint: str
    known_duplicates: frozenset[str] = frozenset()
    class_sources: tuple[str, ...] | None = None
    class_mapping: str = ""
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def paths(self) -> list[str] | None:
        """The path of each image's file; None for images that are not in files of their own."""
        return _paths(self.images)

    def limited(self, limit: int | None) -> "ImageSet":
        """At most `limit` images, evenly spread over the order, so that a class-sorted set keeps its classes."""
        if limit is None or limit >= len(self):
            return self
        return self.select(np.arange(limit, dtype=np.int64) * len(self) // limit)

    def select(self, places: NDArray[np.int64]) -> "ImageSet":
        """The images at these places of this set, in the order given."""
        return replace(
            self, labels=self.labels[places], indices=self.indices[places], images=Selection(self.images, places)
        )


@dataclass(frozen=True)
class Selection(Sequence[Picture]):
    """Some items of a sequence, each made only when it is asked for."""

    images: Sequence[Picture]
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return Selection(self.images, self.places[index])
        return self.images[int(self.places[index])]


def _paths(images: Sequence[Picture]) -> list[str] | None:
    if isinstance(images, Selection):
        whole = _paths(images.images)
        return None if whole is None else [whole[place] for place in images.places]
    path = getattr(images, "path", None)  # of `ImageFiles`
    return None if path is None else [str(path(place)) for place in range(len(images))]


def fingerprint(classes: Sequence[str], labels: NDArray[np.int64], content: Iterable[bytes | memoryview]) -> str:
    """A sha256 (hex) over class names, labels and image content, which comes in the order of the images."""
    digest = hashlib.sha256(json.dumps({"classes": list(classes), "images": len(labels)}).encode())
    digest.update(labels.astype("<i8").tobytes())
    for part in content:
        digest.update(part)
    return digest.hexdigest()


def empty_classes(labels: NDArray[np.int64], classes: Sequence[str]) -> list[str]:
    """The names of the classes that no image has."""
    counts = np.bincount(labels, minlength=len(classes))
    return [name for name, count in zip(classes, counts, strict=True) if count == 0]


def refuse_empty_classes(labels: NDArray[np.int64], classes: Sequence[str], source: Path) -> None:
    """Raises ZeroshotError, naming `source` and the first such class, where a class has no image."""
    if empty := empty_classes(labels, classes):
        more = f" nor of {len(empty) - 1} more" if len(empty) > 1 else ""
        raise ZeroshotError(
            f"{printable(source)} holds no image of class «{printable(empty[0])}»{more}: it is not the whole set"
        )
