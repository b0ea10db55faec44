"""A folder per class, its images anywhere below: ImageNet's layout, and the usual one for images of one's own."""

import logging
import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zeroshot.data.class_names import NamesOption, name_classes, same_file
from zeroshot.data.image_files import ImageFiles, is_image, unread_reason
from zeroshot.data.image_set import ImageSet, fingerprint
from zeroshot.data.read_file import names_in, reason
from zeroshot.errors import ZeroshotError, override, printable

LEFTOVERS = {"thumbs.db", "desktop.ini"}  # of Windows; hidden files are skipped too
SPLITS = (
    "val",
    "valid",
    "validation",
    "dev",
    "test",
    "testing",
    "train",
    "training",
)  # the best for an evaluation first
WHOLE = "all"  # the split that takes the folders of the root as classes, whatever their names
FILES_NAMED = 20  # in an error

log = logging.getLogger(__name__)


def load(
    root: Path,
    class_names: NamesOption = None,
    name: str = "image_folder",
    split: str = "test",
    skip_unreadable: bool = False,
) -> ImageSet:
    """The images of the folders in `root/split` if that exists, otherwise of those in `root`; opened on access.

    A class has every image below its folder, links followed, in the order of the relative paths; files are images by
    their names' endings. Hidden files and folders, Thumbs.db and desktop.ini are skipped. Other files in a class's
    folder are an error, or with `skip_unreadable` left out and named in `skipped`. Each file is read once for the
    fingerprint, which depends on content and not on where the files are. Names are given as `name_classes` says.

    Raises:
        ZeroshotError: the folder does not exist, it is unclear which folders are classes, there are fewer than two, a
            class has no image, names don't fit, or files are not images.
    """
    top = _class_root(root, split)
    folders = _class_folders(top, class_names)
    classes = name_classes(folders, class_names, top)
    labels, unread = array("q"), list[str]()
    images = ImageFiles(top, _labelled(top, classes.sources, labels, unread, skip_unreadable))
    if unread and not skip_unreadable:
        listed = "; ".join(printable(each) for each in unread[:FILES_NAMED])
        more = f"; and {len(unread) - FILES_NAMED} more" if len(unread) > FILES_NAMED else ""
        raise ZeroshotError(
            f"{printable(top)} has files that are not read, {len(unread)} in all: {listed}{more}: "
            "move them elsewhere, or leave them out with dataset.unreadable=skip"
        )
    ids = np.array(labels, dtype=np.int64)
    log.info("Reading %s images in %s once, for their fingerprint", f"{len(ids):,}", printable(top))
    if "classes" in classes.mapping:
        log.info("%s: names %s", name, classes.mapping)
    return ImageSet(
        name=name,
        split=split,
        label_kind="class",
        classes=classes.names,
        labels=ids,
        images=images,
        indices=np.arange(len(ids), dtype=np.int64),
        fingerprint=fingerprint(classes.names, ids, images.digests()),
        known_duplicates=classes.known_duplicates,
        class_sources=classes.sources,
        class_mapping=classes.mapping,
        skipped=tuple(unread),
    )


def _class_root(root: Path, split: str) -> Path:
    """The folder that has the class folders."""
    inside = names_in(root)
    folders = [name for name in inside if not name.startswith(".") and os.path.isdir(root / name)]
    if split == WHOLE:
        return root
    splits = sorted((name for name in folders if name.lower() in SPLITS), key=lambda name: SPLITS.index(name.lower()))
    others = [name for name in folders if name not in (*splits, split)]
    advice = f"type dataset.split={WHOLE} if all are classes, or"
    if split in folders:
        if others:
            raise ZeroshotError(
                f"{printable(root)} has a folder {printable(split)} beside {printable(others[0])}: {advice} "
                f"{override('dataset.root', root / split)} for those in it"
            )
        return root / split
    missing = f"{printable(root)} has no folder {printable(split)} but {', '.join(splits)}"
    if splits and not others:
        raise ZeroshotError(f"{missing}: type dataset.split={splits[0]}")
    if len(splits) > 1:  # one alone may be a class, such as «train»
        raise ZeroshotError(f"{missing}: {advice} {override('dataset.root', root / splits[0])} for those in it")
    return root


def _class_folders(top: Path, class_names: NamesOption) -> list[str]:
    visible = [name for name in names_in(top) if not _is_skipped(name)]
    folders = [name for name in visible if os.path.isdir(top / name)]
    files = [name for name in visible if name not in set(folders) and not same_file(top / name, class_names)]
    images = [name for name in files if is_image(name)]
    if images:
        raise ZeroshotError(
            f"{printable(top / images[0])}{_and_more(images)} is in no class's folder: "
            "dataset.root needs a folder per class with the images in it"
        )
    if len(folders) < 2:
        if len(folders) == 1 and any(os.path.isdir(top / folders[0] / name) for name in names_in(top / folders[0])):
            inner = override("dataset.root", top / folders[0])
            raise ZeroshotError(f"{printable(top)} has its class folders one folder down: type {inner}")
        found = f"one folder, «{printable(folders[0])}»" if folders else "no folders"
        raise ZeroshotError(f"{printable(top)} has {found}: dataset.root needs a folder per class, two or more")
    if files:
        log.warning("%s%s beside the class folders is not part of the set", printable(top / files[0]), _and_more(files))
    return folders


def _labelled(
    top: Path, folders: tuple[str, ...], labels: "array[int]", unread: list[str], skip_unreadable: bool
) -> Iterator[str]:
    """The images' paths in order, relative to `top`; fills `labels`, and `unread` with other files and the reasons."""
    for label, folder in enumerate(folders):
        paths = list[str]()
        for path in sorted(_files(top, folder)):
            why = unread_reason(top / path)
            if why is None:
                paths.append(path)
            else:
                unread.append(f"{path}: {why}")
        if not paths and (skip_unreadable or not unread):  # else the error that lists `unread` comes
            raise ZeroshotError(f"{printable(top / folder)} has no images: fill this class's folder or remove it")
        labels.extend([label] * len(paths))
        yield from paths


def _files(top: Path, folder: str) -> Iterator[str]:
    """All files below a class's folder that are not skipped, links followed, in no fixed order."""
    waiting, visited = [folder], set[tuple[int, int]]()
    while waiting:
        inner = waiting.pop()
        try:
            status = os.stat(top / inner)
            if (status.st_dev, status.st_ino) in visited:
                raise ZeroshotError(f"{printable(top / inner)} links to a folder that was read already: remove it")
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(top / inner) as entries:
                for entry in entries:
                    if not _is_skipped(entry.name):
                        path = f"{inner}/{entry.name}"
                        if entry.is_dir():
                            waiting.append(path)
                        else:
                            yield path
        except OSError as error:
            raise ZeroshotError(f"{printable(top / inner)} can't be read ({reason(error)})") from error


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name.lower() in LEFTOVERS


def _and_more(paths: list[str]) -> str:
    return f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
