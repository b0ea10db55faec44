"""Pictures against the pixels that transformers makes, and what is said of those that can't be read."""

import hashlib
import json
import struct
import zlib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from zeroshot.data.read_image import open_image
from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import OPENAI_MEAN, OPENAI_STD
from zeroshot.models.preprocess import LONG, Interpolation, resize_and_crop

FIXTURES = Path(__file__).parent / "fixtures"
IMAGES = FIXTURES / "images"
CASES: list[dict[str, Any]] = json.loads((FIXTURES / "pixels.json").read_text(encoding="utf-8"))
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
SIDES = st.integers(1, 40)
SMALL = st.tuples(SIDES, SIDES).flatmap(lambda sides: arrays(np.uint8, (*sides, 3)))


def source(case: dict[str, Any]) -> Path | Image.Image | NDArray[np.uint8]:
    path: Path = IMAGES / case["file"]
    if path.suffix == ".npy":
        array: NDArray[np.uint8] = np.load(path)
        return array
    return path if case["mode"] is None else Image.open(path).convert(case["mode"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['file']} {case['mode'] or ''}".strip())
def test_pixels_are_those_of_transformers(case: dict[str, Any]) -> None:
    expected = case["digests"] | (case["before Pillow 13"] if int(PIL.__version__.split(".")[0]) < 13 else {})
    image = open_image(source(case))
    assert image.mode == "RGB"
    for key, digest in expected.items():
        interpolation, size = key.split()
        pixels = resize_and_crop(image, int(size), interpolation)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == digest, key


def test_reference_has_sixty_pictures_of_every_mode() -> None:
    files = {case["file"] for case in CASES}
    modes = {Image.open(IMAGES / file).mode for file in files if not file.endswith(".npy")}
    assert len(files) >= 60
    assert {"1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "I", "F"} <= modes
    assert {"PA", "YCbCr", "HSV", "RGBX", "RGBa", "La"} <= {case["mode"] for case in CASES}


def test_constants_are_openai_s() -> None:
    assert pytest.approx((0.48145466, 0.4578275, 0.40821073)) == OPENAI_MEAN
    assert pytest.approx((0.26862954, 0.26130258, 0.27577711)) == OPENAI_STD


# What open_image takes


def test_path_string_image_and_array_are_the_same_picture() -> None:
    path = IMAGES / "rgb.png"
    array = np.asarray(Image.open(path))
    for other in (str(path), Image.open(path), array, array[::-1][::-1], np.asfortranarray(array)):
        assert np.array_equal(np.asarray(open_image(other)), array)


def test_an_rgb_image_is_not_copied() -> None:
    image = Image.new("RGB", (3, 2))
    assert open_image(image) is image


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_is_turned_upright_once(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    top_row_is, left_column_is = {
        1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
        5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
    }[orientation]  # fmt: skip
    seen = np.zeros((32, 64, 3), np.uint8)  # upright: red at the top left, the rest black
    seen[:16, :32, 0] = 255
    stored = seen.swapaxes(0, 1) if top_row_is in ("left", "right") else seen
    stored = stored[::-1] if {"bottom", "right"} & {top_row_is} else stored
    stored = stored[:, ::-1] if {"bottom", "right"} & {left_column_is} else stored
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "photo.jpg", exif=exif, quality=95, subsampling=0)

    image = open_image(tmp_path / "photo.jpg")
    again = open_image(image)

    assert np.abs(np.asarray(image).astype(int) - seen).max() < 60
    assert np.array_equal(np.asarray(again), np.asarray(image))


def test_broken_exif_leaves_the_picture_as_it_is_stored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (4, 6), "red").save(tmp_path / "odd.png", exif=b"Exif\0\0nothing of the kind")
    assert open_image(tmp_path / "odd.png").size == (4, 6)
    assert "odd.png" in caplog.text


def test_a_user_s_image_keeps_its_metadata() -> None:
    with Image.open(IMAGES / "orientation_6.png") as image:
        open_image(image)
        assert image.getexif()[0x0112] == 6


def test_of_an_animation_the_first_frame_is_taken() -> None:
    first = open_image(IMAGES / "animated.png")
    with Image.open(IMAGES / "animated.png") as frames:
        frames.seek(1)
        assert not np.array_equal(np.asarray(first), np.asarray(frames.convert("RGB")))


def test_transparency_is_white() -> None:
    assert open_image(Image.new("RGBA", (1, 1), (10, 20, 30, 0))).getpixel((0, 0)) == (255, 255, 255)
    assert open_image(np.array([[[10, 20, 30, 0]]], np.uint8)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_keep_their_brightness() -> None:
    grey = open_image(Image.fromarray(np.array([[0, 255, 256, 0x7FFF, 0xFFFF]], np.uint16)))
    assert np.asarray(grey)[0, :, 0].tolist() == [0, 0, 1, 127, 255]


@pytest.mark.parametrize(
    ("pixels", "seen"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.9, 255.0], [0, 100, 255]),
        ([0.0, 256.0, 65535.0], [0, 1, 255]),
    ],
)
def test_white_of_floats_is_1_or_255_or_65535(pixels: list[float], seen: list[int]) -> None:
    image = Image.fromarray(np.array([pixels], np.float32))
    assert np.asarray(open_image(image))[0, :, 0].tolist() == seen


# What it refuses


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4), bool),
        np.zeros((4,), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 4, 4, 3), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_other_arrays_are_refused_with_their_shape(array: NDArray[Any]) -> None:
    with pytest.raises(ZeroshotError, match=str(list(array.shape)).replace("[", r"\[")):
        open_image(array)


@pytest.mark.parametrize(
    ("mode", "pixels"),
    [("F", [0.0, float("nan")]), ("F", [-0.5, 1.0]), ("F", [0.0, 1e6]), ("I", [-1, 3]), ("I", [0, 70000])],
)
def test_pixels_out_of_any_range_are_refused(mode: str, pixels: list[float]) -> None:
    image = Image.fromarray(np.array([pixels], {"F": np.float32, "I": np.int32}[mode]))
    with pytest.raises(ZeroshotError, match=f"mode {mode}"):
        open_image(image)


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ZeroshotError, match="no pixels"):
        open_image(Image.new("RGB", (0, 5)))


def test_missing_file_folder_and_text_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a photo of a dog")
    (tmp_path / "empty.png").touch()
    expected = {
        "absent.png": "no such file",
        ".": "folder",
        "notes.txt": "is not an image",
        "empty.png": "is not an image",
    }
    for name, words in expected.items():
        with pytest.raises(ZeroshotError, match=words) as refusal:
            open_image(tmp_path / name)
        assert str(tmp_path / name) in str(refusal.value)
    with pytest.raises(ZeroshotError, match="can't be opened"):
        open_image("a\0b")


def test_postscript_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    ran = tmp_path / "ran"
    path.write_text(f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n({ran}) (w) file closefile\n")
    with pytest.raises(ZeroshotError, match=r"photo\.jpg"):
        open_image(path)
    assert not ran.exists()


def test_decompression_bomb_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bomb)
    with pytest.raises(ZeroshotError, match=r"bomb\.png.*too large"):
        open_image(tmp_path / "bomb.png")


def opened(path: Path) -> Image.Image | None:
    """The picture, or None where it is refused by name."""
    try:
        return open_image(path)
    except ZeroshotError as error:
        if str(path) not in str(error):
            raise
        return None


@pytest.mark.parametrize(
    "name",
    ["rgb.png", "palette_alpha.png", "sixteen.png", "rgb.bmp", "palette.gif", "rgb.tif", "sixteen.tif", "rgb.ppm",
     "lossless.webp", "rgba.tga", "rgb.pcx", "lossless.jp2", "rgb.sgi"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_file_cut_short_is_refused_by_name_or_whole(tmp_path: Path, name: str) -> None:
    content = (IMAGES / name).read_bytes()
    whole = np.asarray(open_image(IMAGES / name))
    refused = 0
    for place in range(20):
        (tmp_path / name).write_bytes(content[: len(content) * place // 20])
        image = opened(tmp_path / name)
        refused += image is None
        assert image is None or np.array_equal(np.asarray(image), whole)
    assert refused >= 18


@settings(deadline=None)
@given(st.sampled_from(sorted({case["file"] for case in CASES})), st.data())
def test_flipped_bytes_give_a_picture_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray((IMAGES / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)  # keeps a flipped width from costing seconds
        image = opened(path)
    assert image is None or image.mode == "RGB"


# transform


@given(SMALL, st.integers(1, 50), st.sampled_from(INTERPOLATIONS))
@example(np.zeros((1, 40, 3), np.uint8), 50, "bicubic")
def test_any_picture_becomes_a_square(array: NDArray[np.uint8], size: int, interpolation: Interpolation) -> None:
    pixels = resize_and_crop(open_image(array), size, interpolation)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8


@given(st.integers(1, 30), st.integers(1, 40), st.booleans(), st.sampled_from(INTERPOLATIONS), st.integers(0, 999))
def test_long_pictures_are_cut_bit_for_bit_like_others(
    short: int, growth: int, wide: bool, interpolation: Interpolation, seed: int
) -> None:
    size = short + growth
    long = short * (LONG + 1) + seed % short
    pixels = np.random.default_rng(seed).integers(0, 2, (short, long, 3), np.uint8) * 255
    image = Image.fromarray(np.ascontiguousarray(pixels if wide else pixels.swapaxes(0, 1)))
    scaled = tuple(size if side == short else int(size * long / short) for side in image.size)
    left, top = ((side - size) // 2 for side in scaled)
    expected = image.resize((scaled[0], scaled[1]), RESAMPLING[interpolation]).crop(
        (left, top, left + size, top + size)
    )
    assert np.array_equal(resize_and_crop(image, size, interpolation), np.asarray(expected))


def test_a_line_of_pixels_needs_no_gigabytes() -> None:
    line = Image.new("RGB", (200_000, 1), "red")
    assert (resize_and_crop(line, 224, "bicubic") == [255, 0, 0]).all()
    assert (resize_and_crop(line.transpose(Image.Transpose.ROTATE_90), 224, "bilinear") == [255, 0, 0]).all()


@given(SMALL.filter(lambda array: array.shape[0] == array.shape[1]), st.sampled_from(INTERPOLATIONS))
def test_a_square_of_the_right_size_stays_as_it_is(array: NDArray[np.uint8], interpolation: Interpolation) -> None:
    assert np.array_equal(resize_and_crop(open_image(array), len(array), interpolation), array)


@given(SMALL, st.integers(1, 50), st.sampled_from(INTERPOLATIONS))
def test_one_colour_stays_one_colour(array: NDArray[np.uint8], size: int, interpolation: Interpolation) -> None:
    array[:] = array[0, 0]
    assert (resize_and_crop(open_image(array), size, interpolation) == array[0, 0]).all()


def test_the_crop_takes_the_left_of_two_middles() -> None:
    image = np.zeros((2, 5, 3), np.uint8)
    image[:, :, 0] = [10, 20, 30, 40, 50]
    assert resize_and_crop(open_image(image), 2, "bicubic")[0, :, 0].tolist() == [20, 30]


def test_other_modes_are_converted_before_they_are_resized() -> None:
    with Image.open(IMAGES / "palette_alpha.png") as image:
        assert np.array_equal(resize_and_crop(image, 32, "bicubic"), resize_and_crop(open_image(image), 32, "bicubic"))
