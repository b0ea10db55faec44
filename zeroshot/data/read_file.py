"""The files a data set lies in: read whole, or one line that says why not."""

import os
import stat
from pathlib import Path

from zeroshot.errors import ZeroshotError

LARGEST = 1 << 29  # CIFAR-100's `train`, the largest file that is read whole, has 155 MB


def names_in(root: Path) -> list[str]:
    """The names in the folder `dataset.root`, sorted; raises ZeroshotError if there is no such folder."""
    try:
        return sorted(os.listdir(root))
    except (OSError, ValueError) as error:
        raise ZeroshotError(
            f"{shown(root)}, the folder of dataset.root, cannot be read ({reason(error)}): "
            "set dataset.root to where the data set lies; experiment=quickstart works without any download"
        ) from error


def contents(path: Path, key: str = "") -> bytes:
    """All bytes of a regular file; raises ZeroshotError if it is none, cannot be read, or is far too large.

    `key` is the option that names the file, if one does.
    """
    named = f"{shown(path)}, the file of {key}," if key else shown(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ZeroshotError(f"{named} is not a file")
        if status.st_size > LARGEST:
            raise ZeroshotError(f"{named} has {status.st_size:,} bytes: too large to be a file of this kind")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ZeroshotError(f"{named} cannot be read ({reason(error)})") from error


def text(path: Path, key: str = "") -> str:
    """The text of a UTF-8 file, its byte order mark dropped and its line ends made `\\n`."""
    data = contents(path, key)
    try:
        decoded = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ZeroshotError(f"{shown(path)}, line {line}, is not UTF-8 text: save it as UTF-8") from error
    return decoded.replace("\r\n", "\n").replace("\r", "\n")


def shown(text: object) -> str:
    """The text as any terminal can print it: what is not printable is escaped, the middle of a long one left out."""
    whole = str(text)
    short = whole if len(whole) <= 400 else f"{whole[:200]} … {whole[-200:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in short)


def reason(error: OSError | ValueError) -> str:
    """What the system said, without the path."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
