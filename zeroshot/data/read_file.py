"""Small files of a data set: read whole, or one line that says why not."""

import os
import stat
from pathlib import Path

from zeroshot.errors import ZeroshotError, printable

LARGEST = 1 << 29  # CIFAR-100's `train`, the largest file that is read whole, has 155 MB


def names_in(root: Path) -> list[str]:
    """The names in the folder `dataset.root`, sorted; raises ZeroshotError if it can't be read."""
    try:
        return sorted(os.listdir(root))
    except (OSError, ValueError) as error:
        raise ZeroshotError(
            f"{printable(root)}, the folder of dataset.root, can't be read ({reason(error)}): "
            "set dataset.root to the folder of the data set; experiment=quickstart needs no download"
        ) from error


def contents(path: Path, key: str = "") -> bytes:
    """All bytes of a regular file; raises ZeroshotError if it is not one, can't be read, or is far too large.

    `key` is the option that names the file, if there is one.
    """
    named = f"{printable(path)}, the file of {key}," if key else printable(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ZeroshotError(f"{named} is not a file")
        if status.st_size > LARGEST:
            raise ZeroshotError(f"{named} has {status.st_size:,} bytes: too large to be a file of this kind")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ZeroshotError(f"{named} can't be read ({reason(error)})") from error


def text(path: Path, key: str = "") -> str:
    """The text of a UTF-8 file, its byte order mark dropped and its line ends made `\\n`."""
    data = contents(path, key)
    try:
        decoded = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ZeroshotError(f"{printable(path)}, line {line}, is not UTF-8 text: save it as UTF-8") from error
    return decoded.replace("\r\n", "\n").replace("\r", "\n")


def reason(error: OSError | ValueError) -> str:
    """The system's message, without the path."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
