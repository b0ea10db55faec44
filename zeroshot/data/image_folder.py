"""A folder per class, its images anywhere below: ImageNet's way, and the usual one for images of one's own."""

import logging
import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zeroshot.data import class_names as names_file
from zeroshot.data.image_files import ImageFiles, is_image
from zeroshot.data.image_set import ImageSet, fingerprint
from zeroshot.data.read_file import names_in, reason
from zeroshot.errors import ZeroshotError, printable

LEFTOVERS = {"thumbs.db", "desktop.ini"}  # what Windows leaves in folders; hidden files are skipped too
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}

log = logging.getLogger(__name__)


def load(root: Path, class_names: Path | None = None, name: str = "image_folder", split: str = "test") -> ImageSet:
    """The images of the folders in `root/split` if there is such a folder, else of those in `root`; opened when asked.

    Class ids follow the folders' sorted names. `class_names` is a text file with a name a line in that order; without
    it the folders' names are the classes'. A class has every image below its folder, links followed, in the order of
    the relative paths; files are images by their names' endings. Hidden files and folders, Thumbs.db and
    desktop.ini are passed over; a file that is no image is refused in a class's folder, and beside the folders warned
    of. Each file is read once, for the fingerprint: it depends on content, not on where the files lie.

    Raises ZeroshotError: no such folder, fewer than two classes, a class without images, a number of names that is not
    the number of folders, files that are no images.
    """
    top = _top(root, split)
    folders = _class_folders(top, class_names)
    labels, strays = array("q"), list[str]()
    images = ImageFiles(top, _labelled(top, folders, labels, strays))
    if strays:
        raise ZeroshotError(
            f"{printable(top / min(strays))}{_and_more(strays)} is no picture in a format that is "
            "read here: a class's folder holds pictures alone, move the rest elsewhere"
        )
    classes = (
        names_file.checked(folders, top) if class_names is None else names_file.read(class_names, "dataset.class_names")
    )
    if len(classes) != len(folders):
        raise ZeroshotError(
            f"{printable(class_names)} has {len(classes)} names, {printable(top)} has {len(folders)} folders"
        )
    ids = np.array(labels, dtype=np.int64)
    log.info("Reading %s images in %s once, for their fingerprint", f"{len(ids):,}", printable(top))
    return ImageSet(
        name=name,
        split=split,
        label_kind="class",
        classes=classes,
        labels=ids,
        images=images,
        indices=np.arange(len(ids), dtype=np.int64),
        fingerprint=fingerprint(classes, ids, images.digests()),
    )


def _top(root: Path, split: str) -> Path:
    """The folder that holds the class folders."""
    inside = names_in(root)
    if split in inside and os.path.isdir(root / split):
        return root / split
    folders = [name for name in inside if not name.startswith(".") and os.path.isdir(root / name)]
    if folders and SPLITS.issuperset(folders):
        raise ZeroshotError(
            f"{printable(root)} has no folder {printable(split)} but {', '.join(folders)}: type dataset.split={folders[0]}"
        )
    return root


def _class_folders(top: Path, class_names: Path | None) -> list[str]:
    visible = [name for name in names_in(top) if not _passed_over(name)]
    folders = [name for name in visible if os.path.isdir(top / name)]
    images, rest = list[str](), list[str]()
    for name in sorted(set(visible) - set(folders)):
        if class_names is None or not _same_file(top / name, class_names):
            (images if is_image(name) else rest).append(name)
    if images:
        raise ZeroshotError(
            f"{printable(top / images[0])}{_and_more(images)} lies in no class's folder: "
            "dataset.root needs a folder per class with the images in it"
        )
    if len(folders) < 2:
        held = f"one folder, «{printable(folders[0])}»" if folders else "no folders"
        raise ZeroshotError(f"{printable(top)} holds {held}: dataset.root needs a folder per class, two or more")
    if rest:
        log.warning("%s%s beside the class folders is not part of the set", printable(top / rest[0]), _and_more(rest))
    return folders


def _labelled(top: Path, folders: list[str], labels: "array[int]", strays: list[str]) -> Iterator[str]:
    """The images' paths in order, relative to `top`; fills `labels`, and `strays` with what is no image."""
    for label, folder in enumerate(folders):
        paths = list[str]()
        for path in _files(top, folder):
            fits = is_image(path) and os.path.isfile(top / path)
            (paths if fits else strays).append(path)
        if not paths and not strays:
            raise ZeroshotError(f"{printable(top / folder)} holds no images: fill this class's folder or remove it")
        labels.extend([label] * len(paths))
        yield from sorted(paths)


def _files(top: Path, folder: str) -> Iterator[str]:
    """All that is not passed over below a class's folder and is no folder itself, links followed, in no fixed order."""
    waiting, seen = [folder], set[tuple[int, int]]()
    while waiting:
        inner = waiting.pop()
        try:
            status = os.stat(top / inner)
            if (status.st_dev, status.st_ino) in seen:
                raise ZeroshotError(f"{printable(top / inner)} is a link to a folder that was met already: remove it")
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(top / inner) as entries:
                for entry in entries:
                    if not _passed_over(entry.name):
                        path = f"{inner}/{entry.name}"
                        if entry.is_dir():
                            waiting.append(path)
                        else:
                            yield path
        except OSError as error:
            raise ZeroshotError(f"{printable(top / inner)} can't be read ({reason(error)})") from error


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name.lower() in LEFTOVERS


def _and_more(paths: list[str]) -> str:
    return f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""


def _same_file(path: Path, other: Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False
