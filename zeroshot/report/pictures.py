"""Example images as small `data:` addresses, so that a page needs no other file."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from zeroshot.data.file_names import expanded
from zeroshot.data.image_set import Picture
from zeroshot.data.read_image import open_image
from zeroshot.errors import ZeroshotError

SIDE = 144  # pixels of a thumbnail's longer side
SMALL = 64  # images up to this side are kept as they are, without loss
QUALITY = 78


@dataclass(frozen=True)
class Thumbnail:
    """An image's `data:` address, its size in pixels, and whether it is so small that its pixels should show."""

    address: str
    width: int
    height: int
    small: bool


def thumbnail(source: Picture | Path) -> Thumbnail:
    """A small copy of an image or of the one in a file.

    Raises:
        ZeroshotError: the file can't be read as a picture.
    """
    image = _quickly_opened(source) if isinstance(source, Path) else open_image(source)
    small = max(image.size) <= SMALL
    if not small:
        image = image.copy()
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    kind = "png" if small else "jpeg"
    image.save(buffer, kind, optimize=True, **({} if small else {"quality": QUALITY}))
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{kind};base64,{text}", *image.size, small)


def of_set(images: Sequence[Picture] | None, place: int) -> Thumbnail | None:
    """The thumbnail of the image at a place, which is read only now; None without images, or if it can't be read."""
    if images is None:
        return None
    try:
        return thumbnail(images[place])
    except ZeroshotError:
        return None


def of_file(path: str) -> Thumbnail | None:
    """The thumbnail of a file; None if it can't be read, as is one at a URL, since drawing asks no other machine."""
    try:
        return thumbnail(expanded(path))
    except ZeroshotError:
        return None


def _quickly_opened(path: Path) -> Image.Image:
    """The picture in a file; a large JPEG is decoded at a fraction of its size, which is all that is needed."""
    try:
        with Image.open(path) as image:
            if image.format == "JPEG" and min(image.size) > 4 * SIDE:
                image.draft("RGB", (2 * SIDE, 2 * SIDE))
                return ImageOps.exif_transpose(image).convert("RGB")
    except Exception:  # the careful reader says what is wrong
        pass
    return open_image(path)
