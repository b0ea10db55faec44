"""Images behind files, folders, globs and URLs."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from zeroshot.data.image_files import is_image
from zeroshot.errors import ZeroshotError


def find(wanted: Sequence[str]) -> list[str]:
    """The images that are meant by files, folders, globs and URLs, in that order.

    Of a folder it is all in it, at any depth, whose name ends as a picture's does, sorted; hidden ones are passed over.

    Raises:
        ZeroshotError: a folder or a glob holds no image or can't be read, or there is no image at all.
    """
    found: list[str] = []
    for place in wanted:
        before = len(found)
        found += _found(place)
        if len(found) == before:
            raise ZeroshotError(f"stage.images={place} holds no image: give a file, a folder or a glob that does")
    if not found:
        raise ZeroshotError("stage.images is empty: give a file, a folder, a glob, a URL or a list of them")
    return found


def _found(place: str) -> Iterator[str]:
    if "://" in place:  # a URL; whoever reads it says if it can't be read
        yield place
        return
    path = Path(place).expanduser()
    if path.is_dir():
        yield from _pictures(str(path), set())
    elif not os.path.lexists(path) and glob.has_magic(str(path)):
        yield from sorted(match for match in glob.iglob(str(path), recursive=True) if os.path.isfile(match))
    else:
        yield str(path)


def _pictures(folder: str, met: set[tuple[int, int]]) -> Iterator[str]:
    """The pictures in a folder and those below it, sorted by path; a folder is entered once, whatever leads to it."""
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            names = sorted(each.name + "/" * each.is_dir() for each in entries if not each.name.startswith("."))
    except OSError as error:
        raise ZeroshotError(
            f"stage.images: {folder} can't be read ({error.strerror}): change its permissions"
        ) from error
    if (status.st_dev, status.st_ino) in met:
        return
    met.add((status.st_dev, status.st_ino))
    for name in names:
        path = os.path.join(folder, name)
        if name.endswith("/"):
            yield from _pictures(path.rstrip("/"), met)
        elif is_image(name) and os.path.isfile(path):
            yield path
