"""Images behind files, folders, globs and URLs."""

import glob
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from zeroshot.data.file_names import expanded
from zeroshot.data.image_files import unread_reason
from zeroshot.errors import ZeroshotError, printable

FILES_NAMED = 5  # in a warning

log = logging.getLogger(__name__)


def find_images(places: Sequence[str]) -> list[str]:
    """The images behind files, folders, globs and URLs, in that order.

    A folder stands for the files in it, at any depth, whose names end as those of images do, sorted; hidden ones are
    skipped, and a warning counts and names the others.

    Raises:
        ZeroshotError: a folder or a glob has no image or can't be read, or there is no image at all.
    """
    found: list[str] = []
    unread: list[str] = []
    for place in places:
        before = len(found)
        found += _found(place, unread)
        if len(found) == before:
            raise ZeroshotError(f"stage.images={place} has no image: give another file, folder or glob")
    if unread:
        more = f"; and {len(unread) - FILES_NAMED} more" if len(unread) > FILES_NAMED else ""
        listed = "; ".join(printable(each) for each in unread[:FILES_NAMED])
        log.warning("%d skipped: %s%s", len(unread), listed, more)
    if not found:
        raise ZeroshotError("stage.images is empty: give a file, a folder, a glob, a URL or a list of them")
    return found


def _found(place: str, unread: list[str]) -> Iterator[str]:
    if "://" in place:  # a URL; whoever reads it says if it can't be read
        yield place
        return
    path = expanded(place)
    if path.is_dir():
        yield from _images_in(str(path), set(), unread)
    elif not os.path.lexists(path) and glob.has_magic(str(path)):
        yield from sorted(match for match in glob.iglob(str(path), recursive=True) if os.path.isfile(match))
    else:
        yield str(path)


def _images_in(folder: str, visited: set[tuple[int, int]], unread: list[str]) -> Iterator[str]:
    """The images in a folder and those below it, sorted by path; a folder is visited once, whatever links to it."""
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            names = sorted(each.name + "/" * each.is_dir() for each in entries if not each.name.startswith("."))
    except OSError as error:
        raise ZeroshotError(
            f"stage.images: {folder} can't be read ({error.strerror}): change its permissions"
        ) from error
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for name in names:
        path = os.path.join(folder, name)
        if name.endswith("/"):
            yield from _images_in(path.rstrip("/"), visited, unread)
        elif (why := unread_reason(Path(path))) is None:
            yield path
        else:
            unread.append(f"{path}: {why}")
