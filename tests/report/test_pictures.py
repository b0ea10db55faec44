"""Thumbnails: small, self-contained, and none rather than an error."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zeroshot.errors import ZeroshotError
from zeroshot.report.pictures import SIDE, of_file, of_set, thumbnail


def opened(address: str) -> Image.Image:
    kind, _, content = address.partition(",")
    assert kind in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_small_image_is_kept_to_the_last_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    made = thumbnail(pixels)
    assert made.small
    np.testing.assert_array_equal(np.asarray(opened(made.address)), pixels)


@pytest.mark.parametrize("size", [(800, 600), (3000, 1200), (90, 300)])
def test_a_large_image_becomes_a_small_jpeg_of_its_proportions(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "large.jpg"
    Image.linear_gradient("L").resize(size).convert("RGB").save(path)
    made = of_file(str(path))
    assert made is not None
    assert not made.small
    assert max(made.width, made.height) == SIDE
    assert made.width / made.height == pytest.approx(size[0] / size[1], rel=0.03)
    assert opened(made.address).size == (made.width, made.height)
    assert len(made.address) < 15_000


def test_a_large_photo_stands_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90°
    Image.new("RGB", (2000, 1000), "red").save(path, exif=exif)
    made = of_file(str(path))
    assert made is not None
    assert made.height > made.width


def test_what_cannot_be_read_has_no_picture(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no picture")

    class Broken(list):
        def __getitem__(self, place):  # type: ignore[no-untyped-def]
            raise ZeroshotError("cut short")

    for address in (str(broken), str(tmp_path / "nowhere.jpg"), "https://example.org/cat.jpg"):
        assert of_file(address) is None
    assert of_set(Broken(), 0) is None
    assert of_set(None, 0) is None
