"""Image files are opened one at a time, found again by place, and hashed without being held."""

import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zeroshot.data import image_files
from zeroshot.data.image_files import ImageFiles, is_image
from zeroshot.errors import ZeroshotError


def write(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (shade, 0, 0)).save(path)
    return path


def shade(image: object) -> int:
    return int(np.asarray(image)[0, 0, 0])


@pytest.fixture
def five(tmp_path: Path) -> ImageFiles:
    names = ["b.png", "a b/ü.png", "a\nb.png", "日.png", "z.png"]
    return ImageFiles(tmp_path, [str(write(tmp_path / name, n).relative_to(tmp_path)) for n, name in enumerate(names)])


def test_it_is_a_sequence_of_pictures(five: ImageFiles) -> None:
    assert len(five) == 5
    assert [shade(image) for image in five] == [0, 1, 2, 3, 4]
    assert [shade(five[place]) for place in (-1, -5, 4)] == [4, 0, 4]
    assert [shade(image) for image in five[1::2]] == [1, 3]
    assert isinstance(five[0], Image.Image)
    for place in (5, -6):
        with pytest.raises(IndexError):
            five[place]


def test_paths_are_found_again_relative_and_absolute(tmp_path: Path) -> None:
    names = ["a.png", "ü/日 本.png", str(tmp_path / "elsewhere" / "c.png"), "x" * 300, "bytes-\udcff.png"]
    files = ImageFiles(tmp_path / "set", names)
    assert [files.path(n) for n in range(5)] == [tmp_path / "set" / name for name in names]


def test_a_file_is_opened_when_it_is_asked_for(five: ImageFiles) -> None:
    five.path(2).unlink()
    five.path(3).write_bytes(b"no picture")
    assert shade(five[4]) == 4
    for place in (2, 3):
        with pytest.raises(ZeroshotError) as caught:
            five[place]
        assert five.path(place).name.split("\n")[0] in str(caught.value)


def test_digests_are_those_of_the_files_in_order(five: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "AHEAD", 2)
    assert list(five.digests()) == [hashlib.sha256(five.path(n).read_bytes()).digest() for n in range(5)]


def test_a_file_that_went_away_is_named(five: ImageFiles) -> None:
    five.path(1).unlink()
    with pytest.raises(ZeroshotError, match=r"ü\.png can't be read \(No such file"):
        list(five.digests())


def test_large_files_are_hashed_in_little_memory(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(64 << 20)
    files = ImageFiles(tmp_path, ["a", "b", "c", "d"])
    tracemalloc.start()
    try:
        assert len(set(files.digests())) == 1
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_fifty_thousand_paths_cost_a_few_bytes_each(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        files = ImageFiles(tmp_path, (f"n{n % 1000:08}/ILSVRC2012_val_{n:08}.JPEG" for n in range(50_000)))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(files) == 50_000
    assert held < 3e6
    assert peak < 6e6
    assert files.path(49_999).name == "ILSVRC2012_val_00049999.JPEG"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(name, True) for name in ("a.jpg", "a.JPEG", "b/a.Png", "a.webp", "a.tif", "a.gif", "a.bmp", "a.ppm")],
        *[(name, False) for name in ("a.txt", "a", "jpg", "a.jpg.txt", "a.pdf", "a.mp4", "a.jpg/b", "a.eps")],
    ],
)
def test_images_are_recognised_by_their_ending(name: str, expected: bool) -> None:
    assert is_image(name) == expected
