"""Unpacks archives whose digest is known, their paths checked."""

import tarfile
import tempfile
import zlib
from pathlib import Path

from zeroshot.downloads.fetch import locked
from zeroshot.errors import ZeroshotError


def unpack(archive: Path, folder: Path) -> Path:
    """Makes the one top folder of a `.tar.gz` the folder `folder`, whole or not at all, and returns that.

    A folder that exists and has content is left as it is. Members are extracted with tarfile's "data" filter, which
    refuses absolute paths, `..`, links that lead outside, and devices.

    Raises:
        ZeroshotError: the archive is damaged, has a member that is refused, or not one top folder.
    """
    with locked(folder):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
        try:
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
                content = Path(temporary, "content")
                with tarfile.open(archive) as tar:
                    tar.extractall(content, filter="data")
                inside = list(content.iterdir())
                if len(inside) != 1 or not inside[0].is_dir():
                    raise tarfile.TarError("it has not one top folder")
                inside[0].rename(folder)
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise ZeroshotError(f"{archive}: can't be unpacked into {folder} ({error})") from error
    return folder
