"""Images to the square of pixels that CLIP sees, bit for bit as transformers and Pillow compute it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zeroshot.data.read_image import to_rgb
from zeroshot.models.architecture import OPENAI_MEAN, OPENAI_STD

Interpolation = Literal["bicubic", "bilinear"]
Resize = Literal["shortest", "squash"]

RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
LONG = 16  # an enlarged image whose sides differ by more than this factor is resized only where it is cut out
FRACTION_BITS = 22  # of Pillow's fixed-point weights


@dataclass(frozen=True)
class Preprocessing:
    """How a model's images are resized and normalised.

    Args:
        image_size: pixels of a side of the square.
        interpolation: the filter that resizes.
        resize: "shortest" resizes the shorter side and cuts out the centre, "squash" resizes both sides to the square.
        mean, std: of red, green and blue, as fractions of full intensity; the towers normalise with them.
    """

    image_size: int
    interpolation: Interpolation = "bicubic"
    resize: Resize = "shortest"
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """The pixels that the image tower is given: uint8 [image_size, image_size, 3], read-only."""
        if self.resize == "squash":
            return squash(image, self.image_size, self.interpolation)
        return resize_and_crop(image, self.image_size, self.interpolation)


def squash(image: Image.Image, size: int, interpolation: Interpolation) -> NDArray[np.uint8]:
    """Both sides resized to `size`, as open_clip's "squash" does: uint8 [size, size, 3], read-only."""
    image = to_rgb(image, "the image given")
    if image.size != (size, size):
        image = image.resize((size, size), RESAMPLING[interpolation])
    return np.asarray(image)


def resize_and_crop(image: Image.Image, size: int, interpolation: Interpolation) -> NDArray[np.uint8]:
    """The centre of an image as CLIP sees it: uint8 [size, size, 3], read-only, before rescaling and normalisation.

    The shorter side is resized to `size`, the longer one in proportion, rounded down; then the centre is cut out. Bit
    for bit the result of transformers' CLIPImageProcessor (Pillow backend) with the same Pillow: before version 13 that
    resized rows first, now it begins with the columns of an image over twice as tall as wide that shrinks.
    The crop starts at half of what is left over, rounded down; openai/CLIP, that is torchvision, rounds a half to the
    even neighbour, so where an odd number of pixels is left over it may start one pixel further right or down.

    The image may have any mode; other than RGB is converted as in `open_image`.
    """
    image = to_rgb(image, "the image given")
    width, height = image.size
    short, long = sorted(image.size)
    length = int(size * long / short)
    if short < size and length > LONG * size:
        return _crop_long(image, size, length, interpolation)
    scaled = (size, length) if width <= height else (length, size)
    if scaled != image.size:
        image = image.resize(scaled, RESAMPLING[interpolation])
    left, top = ((side - size) // 2 for side in scaled)
    if length > size:
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image)


def _crop_long(image: Image.Image, size: int, length: int, interpolation: Interpolation) -> NDArray[np.uint8]:
    """`resize_and_crop` of an image whose longer side would grow to `length`, without ever making one that long.

    Pillow enlarges rows first, then columns, in fixed point with 8 bits in between. Here it does so for the shorter
    side, and this function, in the same arithmetic, for the longer: no bit differs.
    """
    wide = image.width > image.height
    taps, weights = _weights(max(image.size), length, (length - size) // 2, size, interpolation)
    start, stop = int(taps.min()), int(taps.max()) + 1
    if wide:
        strip = np.asarray(image.crop((start, 0, stop, image.height)))
    else:
        image = image.crop((0, start, image.width, stop))
        strip = np.asarray(image.resize((size, stop - start), RESAMPLING[interpolation])).swapaxes(0, 1)
    sums = np.full((len(strip), size, 3), 1 << (FRACTION_BITS - 1), dtype=np.int64)
    for tap, weight in zip(taps.T, weights.T, strict=True):
        sums += strip[:, tap - start] * weight[:, None]
    pixels = (sums >> FRACTION_BITS).clip(0, 255).astype(np.uint8)
    if wide:
        return np.asarray(Image.fromarray(pixels).resize((size, size), RESAMPLING[interpolation]))
    return np.ascontiguousarray(pixels.swapaxes(0, 1))


def _weights(
    source: int, target: int, first: int, count: int, interpolation: Interpolation
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where Pillow looks along one axis, and with what weight, to enlarge `source` to `target` pixels.

    Both are [count, taps], for `count` pixels from the `first` on; weights are integers that sum to about 2**22.
    """
    reach = 2 if interpolation == "bicubic" else 1
    centres = (np.arange(first, first + count) + 0.5) * (source / target)
    starts = (centres - reach + 0.5).astype(np.int64).clip(min=0)
    stops = (centres + reach + 0.5).astype(np.int64).clip(max=source)
    taps = starts[:, None] + np.arange((stops - starts).max())
    x = np.abs(taps - centres[:, None] + 0.5)
    if interpolation == "bilinear":
        kernel = 1 - x
    else:  # cubic convolution with a = -1/2
        kernel = np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5)
    kernel[(x >= reach) | (taps >= stops[:, None])] = 0
    kernel /= kernel.cumsum(axis=1)[:, -1:]  # a sum from left to right, as Pillow takes it
    weights = np.trunc(kernel * 2**FRACTION_BITS + np.copysign(0.5, kernel)).astype(np.int64)
    return taps.clip(max=source - 1), weights
