"""Picture files of every mode and of odd sizes, each with what a person sees in it: 8-bit pixels, upright."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION = 0x0112
# EXIF orientation → how a picture that is upright has to be turned to be stored so.
TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
# Width and height: squares, equal to or one off a target size, one pixel, panoramas, odd numbers left over by the crop.
SIZES = """
    1x1 1x7 7x1 2x3 31x33 33x31 32x32 32x33 35x32 224x224 225x224 224x227 223x223 336x337 337x339 448x449 500x375
    375x500 640x427 150x400 400x150 100x900 1000x60 20x700 900x17 3x200 333x5
"""


class Case(NamedTuple):
    """A file, the mode that its image is turned into once open (None: none), and the image that is to be seen."""

    file: str
    mode: str | None
    seen: Image.Image | NDArray[np.uint8]


def cases(folder: Path) -> Iterator[Case]:
    """Writes the files into `folder`."""
    yield from _sizes(folder)
    yield from _modes(folder)
    yield from _containers(folder)
    yield from _wide_pixels(folder)
    yield from _orientations(folder)
    yield from _in_memory(folder)
    yield from _arrays(folder)


def picture(width: int, height: int, seed: int) -> Image.Image:
    """An RGB picture with edges, a slope and noise, that packs well."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 90)], axis=-1)
    for _ in range(8):
        (left, right), (top, bottom) = (np.sort(rng.integers(0, side + 1, 2)) for side in (width, height))
        pixels[top:bottom, left:right] = rng.integers(0, 256, 3)
    middle = pixels[height // 2 - 6 : height // 2 + 6, width // 2 - 6 : width // 2 + 6]
    middle[:] = rng.integers(0, 256, middle.shape)
    return Image.fromarray(pixels.astype(np.uint8))


def _written(folder: Path, name: str, image: Image.Image, **options: Any) -> Case:
    """A case whose file, written by Pillow, holds the image itself."""
    image.save(folder / name, **options)
    with Image.open(folder / name) as stored:
        stored.load()
        return Case(name, None, stored)


def _sizes(folder: Path) -> Iterator[Case]:
    for seed, size in enumerate(SIZES.split()):
        width, height = map(int, size.split("x"))
        yield _written(folder, f"{size}.png", picture(width, height, seed))


def _modes(folder: Path) -> Iterator[Case]:
    rgb = picture(61, 47, 100)
    alpha = Image.fromarray(np.random.default_rng(101).integers(0, 256, (47, 61), np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    palette = rgb.quantize(64)
    yield _written(folder, "bilevel.png", rgb.convert("1"))
    yield _written(folder, "bilevel_transparent.png", rgb.convert("1"), transparency=0)
    yield _written(folder, "grey.png", rgb.convert("L"))
    yield _written(folder, "grey_transparent.png", rgb.convert("L"), transparency=rgb.convert("L").getpixel((5, 5)))
    yield _written(folder, "grey_alpha.png", rgba.convert("LA"))
    yield _written(folder, "palette.png", palette)
    yield _written(folder, "palette_transparent.png", palette, transparency=palette.getpixel((5, 5)))
    yield _written(folder, "palette_alpha.png", palette, transparency=bytes(range(0, 256, 4)))
    yield _written(folder, "palette_2_colours.png", rgb.quantize(2), bits=1)
    yield _written(folder, "rgb.png", rgb)
    yield _written(folder, "rgb_transparent.png", rgb, transparency=rgb.getpixel((5, 5)))
    yield _written(folder, "rgba.png", rgba)
    yield _written(folder, "cmyk.tif", rgb.convert("CMYK"), compression="tiff_lzw")
    yield _written(folder, "rgba.tif", rgba, compression="tiff_adobe_deflate")


def _containers(folder: Path) -> Iterator[Case]:
    rgb = picture(57, 71, 200)
    other = picture(57, 71, 201)
    rgba = rgb.copy()
    rgba.putalpha(other.convert("L"))
    palette = rgb.quantize(32)
    yield _written(folder, "palette.gif", palette)
    yield _written(folder, "transparent.gif", palette, transparency=palette.getpixel((9, 9)))
    yield _written(folder, "animated.gif", palette, save_all=True, append_images=[other.quantize(32)])
    yield _written(folder, "animated.png", rgb, save_all=True, append_images=[other])
    yield _written(folder, "rgb.bmp", rgb.resize((29, 37)))
    yield _written(folder, "palette.bmp", palette.resize((29, 37)))
    yield _written(folder, "rgb.tif", rgb, compression="tiff_lzw")
    yield _written(folder, "pages.tif", rgb, compression="tiff_lzw", save_all=True, append_images=[other])
    yield _written(folder, "lossless.webp", rgb, lossless=True)
    yield _written(folder, "lossless_alpha.webp", rgba, lossless=True, exact=True)
    yield _written(folder, "rgb.ppm", rgb.resize((23, 31)))
    yield _written(folder, "grey.pgm", rgb.convert("L").resize((23, 31)))
    yield _written(folder, "rgba.tga", rgba, compression="tga_rle")
    yield _written(folder, "rgb.pcx", rgb.resize((33, 20)))
    yield _written(folder, "rgb.sgi", rgb.resize((33, 20)))
    yield _written(folder, "lossless.jp2", rgb, irreversible=False)


def _wide_pixels(folder: Path) -> Iterator[Case]:
    """More than 8 bits: what is to be seen is the 8-bit picture that the wide one is made from."""
    seen = picture(45, 53, 300).convert("L")
    eight = np.asarray(seen)
    noise = np.random.default_rng(301).integers(0, 256, eight.shape)
    sixteen = (eight * 256 + noise).astype(np.uint16)
    sixteen[0, 0], sixteen[0, 1] = 0, 65535
    eight = eight.copy()
    eight[0, 0], eight[0, 1] = 0, 255
    seen = Image.fromarray(eight)
    wide = {
        "sixteen.png": Image.fromarray(sixteen),
        "sixteen.tif": Image.fromarray(sixteen),
        "sixteen_big_endian.tif": Image.frombytes("I;16B", (45, 53), sixteen.astype(">u2").tobytes()),
        "sixteen.pgm": Image.fromarray(sixteen),
        "integers_to_65535.tif": Image.fromarray(sixteen.astype(np.int32)),
        "integers_to_255.tif": Image.fromarray(eight.astype(np.int32)),
        "floats_to_1.tif": Image.fromarray(eight.astype(np.float32) / 255),
        "floats_to_255.tif": Image.fromarray(eight.astype(np.float32)),
        "floats_to_65535.tif": Image.fromarray(sixteen.astype(np.float32)),
    }
    for name, image in wide.items():
        yield _written(folder, name, image)._replace(seen=seen)
    hole = int(sixteen[30, 3])
    transparent = np.where(sixteen == hole, 255, eight).astype(np.uint8)
    case = _written(folder, "sixteen_transparent.png", wide["sixteen.png"], transparency=hole)
    yield case._replace(seen=Image.fromarray(transparent))


def _orientations(folder: Path) -> Iterator[Case]:
    upright = picture(51, 38, 400)
    for orientation, turn in TURNED.items():
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        stored = upright.transpose(turn)
        yield _written(folder, f"orientation_{orientation}.png", stored, exif=exif)._replace(seen=upright)
        if orientation == 6:
            yield _written(folder, "orientation_6.tif", stored, exif=exif)._replace(seen=upright)
            yield _written(folder, "orientation_6.webp", stored, exif=exif, lossless=True)._replace(seen=upright)
            grey = _written(folder, "orientation_6_grey.tif", stored.convert("L"), exif=exif)
            yield grey._replace(seen=upright.convert("L"))
            packed = _written(folder, "orientation_6_lzw.tif", stored, exif=exif, compression="tiff_lzw")
            yield packed._replace(seen=upright)


def _in_memory(folder: Path) -> Iterator[Case]:
    """Modes that no file read here has; premultiplied alpha is to be seen like other alpha."""
    for mode in ("YCbCr", "HSV", "CMYK", "RGBX"):
        yield Case("rgb.png", mode, Image.open(folder / "rgb.png").convert(mode))
    yield Case("palette_alpha.png", "PA", Image.open(folder / "palette_alpha.png").convert("PA"))
    yield Case("rgba.png", "RGBa", Image.open(folder / "rgba.png").convert("RGBa").convert("RGBA"))
    yield Case("grey_alpha.png", "La", Image.open(folder / "grey_alpha.png").convert("La").convert("LA"))


def _arrays(folder: Path) -> Iterator[Case]:
    rgb = np.asarray(picture(43, 39, 500))
    rgba = np.concatenate([rgb, np.asarray(picture(43, 39, 501))[:, :, :1]], axis=2)
    arrays = {
        "grey": rgb[:, :, 0],
        "grey_1": rgb[:, :, :1],
        "rgb": rgb,
        "rgba": rgba,
        "cifar": np.random.default_rng(502).integers(0, 256, (32, 32, 3), np.uint8),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        yield Case(f"{name}.npy", None, array if array.ndim == 3 else array[:, :, None])
