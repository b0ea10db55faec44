"""An image from wherever it is: a path, a URL, bytes, a file, a PIL image, an array."""

import io
import os
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zeroshot.data.file_names import expanded
from zeroshot.data.read_image import open_image, read_image
from zeroshot.errors import ZeroshotError

SECONDS = 30.0  # for the whole of an image behind a URL, redirects included
LARGEST = 1 << 26  # bytes of an image behind a URL
KINDS = "a path, a URL, bytes, a binary file, a PIL image, or an array"

Source = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryIO
    | Image.Image
    | NDArray[np.uint8 | np.floating[Any]]
)


def load_image(source: Source) -> Image.Image:
    """The RGB image, upright, in any of these forms:

    - a path (`~` is expanded) or a URL of http or https, whose image must be complete within 30 seconds, 64 MiB and 5
      redirects, with status 200, and over https from a server whose certificate is trusted;
    - the bytes of an image file, or a file opened for reading in binary mode;
    - a PIL image;
    - an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], uint8 from 0 to 255 or floating point from 0 to 1.

    The format is recognised by the content.

    Raises:
        ZeroshotError: it has another type, does not exist, is cut short, damaged, too large or not an image.
    """
    match source:
        case str():
            from zeroshot.downloads.http import is_url, read_url

            if is_url(source):
                return read_image(io.BytesIO(read_url(source, max_bytes=LARGEST, seconds=SECONDS)), source)
            return open_image(expanded(source))
        case bytes() | bytearray() | memoryview():
            return read_image(io.BytesIO(bytes(source)), f"the {type(source).__name__} given")
        case Image.Image():
            return open_image(source)
        case np.ndarray():
            return open_image(_as_bytes(source))
        case os.PathLike():
            return open_image(expanded(source))
    if callable(getattr(source, "read", None)) and callable(getattr(source, "seek", None)):
        return read_image(source, str(getattr(source, "name", "the file given")))
    raise ZeroshotError(f"an image can't be of type {type(source).__name__}: give {KINDS}")


def is_one_image(images: Any) -> bool:
    """Whether a value is one image, in any form that `load_image` takes, and not several."""
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike | Image.Image):
        return True
    return callable(getattr(images, "read", None))


def _as_bytes(array: NDArray[Any]) -> NDArray[Any]:
    """A floating-point image from 0 to 1 as uint8; other arrays as they are."""
    if array.dtype.kind != "f" or not array.size:
        return array
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):
        raise ZeroshotError(
            f"an image as an array of {array.dtype} from {low:g} to {high:g}: scale it to 0 … 1, or give uint8"
        )
    scaled: NDArray[np.uint8] = np.rint(array * 255).astype(np.uint8)
    return scaled
