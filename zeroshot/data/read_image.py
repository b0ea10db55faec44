"""Image files and arrays → upright 8-bit RGB images."""

import ctypes
import logging
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from zeroshot.errors import ZeroshotError

# The formats that are read. EPS is not among them: Pillow would run the program in the file through Ghostscript.
FORMATS = frozenset(
    "AVIF BMP DIB GIF HEIF ICO JPEG JPEG2000 MPO PCX PNG PPM QOI SGI TGA TIFF WEBP".split()  # noqa: SIM905
)
HEIF = (".heic", ".heif")  # read where the package pillow-heif is installed
ORIENTATION = 0x0112  # EXIF tag; its values and what turns the image upright:
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})

log = logging.getLogger(__name__)


def open_image(source: str | Path | Image.Image | NDArray[np.uint8]) -> Image.Image:
    """The image in a file, a PIL image or a uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]: RGB, upright.

    EXIF orientation is applied; of several frames the first is taken. Transparency is laid over white, as transformers
    does (openai/CLIP drops it and shows whatever colour is hidden there). Of 16-bit grey the upper 8 bits are kept,
    as Pillow does for 16-bit colour; other wide pixels are scaled as `_eight_bits` says, where Pillow alone would clip
    them to white. An RGB image that needs nothing is returned as it is, not copied.

    Raises ZeroshotError, naming the file, if it is missing, cut short, damaged, too large or not an image.
    """
    if isinstance(source, Image.Image):
        return _upright_rgb(source, str(getattr(source, "filename", "")) or "the image given")
    if isinstance(source, np.ndarray):
        return _from_array(source)
    try:
        # By name, Pillow would map some files into memory, where it muddles TIFFs that are turned.
        with open(source, "rb") as file:
            return read_image(file, str(source))
    except FileNotFoundError:
        raise ZeroshotError(f"{source}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise ZeroshotError(f"{source}: is a folder; name an image in it") from None
    except PermissionError:
        raise ZeroshotError(f"{source}: may not be read; change its permissions (chmod +r)") from None
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        raise ZeroshotError(f"{source}: can't be opened as an image ({error}); check or replace it") from None


def read_image(file: BinaryIO, name: str) -> Image.Image:
    """The image in an open file, as `open_image` gives it; `name` is what an error calls it."""
    try:
        return _upright_rgb(Image.open(file, formats=_formats()), name)
    except ZeroshotError:
        raise
    except UnidentifiedImageError:
        raise ZeroshotError(f"{name}: is not an image of a format that is read, or is cut short") from None
    except Image.DecompressionBombError as error:
        raise ZeroshotError(f"{name}: is too large ({error}); shrink it first") from None
    except Exception as error:  # Pillow's readers meet a damaged file with errors of many types
        raise ZeroshotError(f"{name}: can't be opened as an image ({error}); check or replace it") from None


@cache
def register_formats() -> None:
    """Makes Pillow know all its formats, and those of pillow-heif where that is installed.

    libtiff writes to stderr what Pillow raises as an error too: its handlers of messages are taken away.
    """
    Image.init()
    with suppress(OSError, AttributeError):  # a Pillow without libtiff, or with one that is linked in
        library = ctypes.CDLL(Image.core.__file__)  # type: ignore[attr-defined]
        for set_handler in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()


@cache
def _formats() -> tuple[str, ...]:
    register_formats()
    return tuple(sorted(FORMATS & set(Image.OPEN)))


def _from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ZeroshotError(
            f"an image as an array of {pixels.dtype} {list(pixels.shape)}: expected uint8 (0 to 255) of shape "
            "[height, width], or [height, width, channels] with 1, 3 or 4 channels"
        )
    if pixels.size == 0:
        raise ZeroshotError(f"an image as an array {list(pixels.shape)} has no pixels")
    return to_rgb(Image.fromarray(pixels), "the array given")


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()  # before the metadata is read, which some formats keep behind the pixels
    except Exception as error:  # as above
        raise ZeroshotError(f"{name}: cut short or damaged ({error}); replace it") from None
    turn = UPRIGHT.get(_orientation(image, name))
    image = to_rgb(image, name)
    if turn is not None:
        image = image.transpose(turn)
        image.info = {}  # or else it would be turned again when it is next opened
    return image


def _orientation(image: Image.Image, name: str) -> int:
    if image.format == "TIFF":  # which Pillow has turned already
        return 1
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception as error:  # metadata, not pixels: the image is as good without
        log.warning("%s: its EXIF data can't be read (%s), so it is taken as upright", name, error)
        return 1


def to_rgb(image: Image.Image, name: str) -> Image.Image:
    """The image in 8-bit RGB, transparency over white; `name` is what an error calls it. Raises ZeroshotError."""
    if not (image.width and image.height):
        raise ZeroshotError(f"{name}: has no pixels ({image.width} × {image.height})")
    if image.mode[0] in "IF":
        image = _eight_bits(image, name)
    try:
        if image.mode in WITH_ALPHA or image.info.get("transparency") is not None:
            if image.mode == "La":  # Pillow knows no shorter way
                image = image.convert("LA")
            image = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        return image if image.mode == "RGB" else image.convert("RGB")
    except Exception as error:  # such as a palette cut short, or colours that this Pillow can't convert
        raise ZeroshotError(f"{name}: mode {image.mode} can't be turned into RGB ({error}); save it as RGB") from None


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Grey of 16 or 32 bits as 8-bit grey; a colour that stands for transparency becomes white.

    Mode I;16 says that white is 65535. Modes I and F don't say: white is the least of 1 (F alone), 255 and 65535 that
    no pixel exceeds. Raises ZeroshotError if one does, or is negative or not a number.
    """
    pixels = np.asarray(image)
    if image.mode.startswith("I;16"):
        white = 65535
    else:
        whites = (1, 255, 65535) if image.mode == "F" else (255, 65535)
        low, high = pixels.min(), pixels.max()
        if not (low >= 0 and high <= whites[-1]):
            raise ZeroshotError(f"{name}: has pixels from {low} to {high} (mode {image.mode}); scale them to 0 … 255")
        white = next(white for white in whites if high <= white)
    if white == 1:
        grey = np.rint(pixels * 255)
    elif white == 255:
        grey = pixels
    else:
        grey = pixels.astype(np.uint16) >> 8
    grey = grey.astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[pixels == transparent] = 255
    return Image.fromarray(grey)
