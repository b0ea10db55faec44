"""An image from wherever it is: a path, a URL, a PIL image, an array."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zeroshot.data.read_image import open_image, read_image

SECONDS = 30.0  # for the whole of an image behind a URL, redirects included
LARGEST = 1 << 26  # bytes of an image behind a URL

Source = str | Path | Image.Image | NDArray[np.uint8]


def load_image(source: Source) -> Image.Image:
    """The RGB image, upright, behind a path or URL, or in a PIL image or uint8 array [H, W], [H, W, 3] or [H, W, 4].

    A URL is one of http or https; its image must be complete within 30 seconds, 64 MiB and 5 redirects, with status
    200, and over https from a server whose certificate is trusted. The format is recognised by the content.

    Raises:
        ZeroshotError: it does not exist, is cut short, damaged, too large or not an image; the line names it.
    """
    if isinstance(source, str):
        from zeroshot.downloads.http import is_url, read_url

        if is_url(source):
            return read_image(io.BytesIO(read_url(source, max_bytes=LARGEST, seconds=SECONDS)), source)
        return open_image(Path(source).expanduser())
    return open_image(source.expanduser() if isinstance(source, Path) else source)
