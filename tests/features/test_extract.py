"""Features in their order and in the encoder's batches, whatever part of them a store has."""

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.cifar_files import cifar100_batch, write_cifar100_python
from tests.quick_encoder import KEY, WIDTH, QuickEncoder, feature, pictures
from zeroshot.data import cifar, image_files
from zeroshot.data.image_files import ImageFiles
from zeroshot.data.image_set import Selection
from zeroshot.errors import ZeroshotError
from zeroshot.features.extract import ImageFeatures, image_digests
from zeroshot.features.store import FeatureStore


def made(root: Path | None, batch_size: int = 8) -> ImageFeatures:
    encoder: Any = QuickEncoder(batch_size)
    return ImageFeatures(encoder, None if root is None else FeatureStore(root, KEY, WIDTH))


def content(features: ImageFeatures, images: Any, errors: dict[int, str] | None = None) -> list[bytes]:
    """Shape and bytes of each batch."""
    return [f"{each.shape}{each.dtype}".encode() + each.tobytes() for each in features.batches(images, iter, errors)]


@pytest.mark.parametrize("seed", range(10))
def test_batches_are_the_same_whatever_part_the_store_has(tmp_path: Path, seed: int) -> None:
    images, chance = pictures(61), random.Random(seed)
    there = [place for place in range(61) if chance.random() < seed / 9]
    content(made(tmp_path), images[there])
    plain, first, second = made(None), made(tmp_path), made(tmp_path)
    assert content(plain, images) == content(first, images) == content(second, images)
    assert (plain.encoded, plain.stored) == (61, 0)
    assert (first.encoded, first.stored) == (61 - len(there), len(there))
    assert (second.encoded, second.stored) == (0, 61)
    sizes = first.encoder.sizes  # type: ignore[attr-defined]
    assert all(size == 8 for size in sizes[:-1])  # the missing ones are encoded in full batches


@pytest.mark.parametrize("stored", [[], [0, 1, 2], [1, 4, 6, 11], range(12)])
def test_an_image_that_cannot_be_read_is_told_by_its_place_with_the_store_and_without(
    tmp_path: Path, stored: list[int]
) -> None:
    paths: list[str] = []
    for place, pixels in enumerate(pictures(12)):
        paths.append(str(tmp_path / f"{place}.png"))
        Image.fromarray(pixels).save(paths[-1])
    for place, bad in ((0, b"no image"), (5, None), (11, Path(paths[11]).read_bytes()[:50])):
        Path(paths[place]).unlink() if bad is None else Path(paths[place]).write_bytes(bad)
    content(made(tmp_path / "store", 5), [paths[place] for place in stored], {})
    without, within = dict[int, str](), dict[int, str]()
    plain, kept = made(None, 5), made(tmp_path / "store", 5)
    assert content(plain, paths, without) == content(kept, paths, within)
    assert without == within
    assert sorted(within) == [0, 5, 11]
    assert all(paths[place] in told for place, told in within.items())
    assert kept.encoded + kept.stored == plain.encoded == 9
    with pytest.raises(ZeroshotError, match=r"0\.png"):
        content(made(tmp_path / "store"), paths)


def test_what_was_encoded_before_an_error_is_kept(tmp_path: Path) -> None:
    images: list[Any] = [*pictures(20), tmp_path / "nowhere.png", *pictures(20, seed=1)]
    with pytest.raises(ZeroshotError, match="nowhere"):
        content(made(tmp_path / "store"), images)
    again = made(tmp_path / "store")
    content(again, images[:20])
    assert again.stored == 16  # two batches of eight


def test_a_consumer_that_stops_early_leaves_what_was_encoded(tmp_path: Path) -> None:
    batches = made(tmp_path).batches(pictures(50))
    next(batches)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    again = made(tmp_path)
    content(again, pictures(50))
    assert again.stored == 16


def test_nothing_is_read_or_shown_of_images_that_the_store_has(tmp_path: Path) -> None:
    images = pictures(20)
    content(made(tmp_path), images[5:])
    shown: list[int] = []

    def told(chosen: Any) -> Any:
        shown.append(len(chosen))
        return chosen

    for _ in range(2):
        list(made(tmp_path).batches(images, told))
    assert shown == [5]


def test_a_file_that_changes_while_it_is_encoded_is_kept_under_no_digest(tmp_path: Path) -> None:
    old, new = pictures(2)
    path = tmp_path / "a.png"
    Image.fromarray(old).save(path)
    before = path.read_bytes()
    files = ImageFiles(tmp_path, ["a.png"])
    list(files.digests())
    Image.fromarray(new).save(path)
    (batch,) = made(tmp_path / "store").batches(files)
    assert np.array_equal(batch[0], feature(new))
    path.write_bytes(before)
    (batch,) = made(tmp_path / "store").batches(files)
    assert np.array_equal(batch[0], feature(old))


def test_a_file_that_changes_after_it_was_read_is_kept_under_no_digest_either(tmp_path: Path) -> None:
    old, new = pictures(2)
    path = tmp_path / "a.png"
    Image.fromarray(old).save(path)
    features = made(tmp_path / "store")
    read = features.encoder.pixels

    def pixels(images: Any) -> Any:
        for item in read(images):
            Image.fromarray(new).save(path)
            yield item

    features.encoder.pixels = pixels  # type: ignore[method-assign]
    (batch,) = features.batches([path])
    assert np.array_equal(batch[0], feature(old))
    (batch,) = made(tmp_path / "store").batches([path])
    assert np.array_equal(batch[0], feature(new))


def test_an_image_without_a_digest_is_encoded_each_time(tmp_path: Path) -> None:
    images = [Image.fromarray(each) for each in pictures(3)]
    for _ in range(2):
        features = made(tmp_path)
        content(features, images)
        assert (features.encoded, features.stored) == (3, 0)
    assert not list(tmp_path.iterdir())


def test_files_are_opened_by_the_encoder_s_threads_not_while_they_are_counted_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in range(5):
        Image.new("RGB", (4, 4), (place, 0, 0)).save(tmp_path / f"{place}.png")
    files = ImageFiles(tmp_path, [f"{place}.png" for place in range(5)])
    expected = content(made(None), [files.path(place) for place in (0, 2, 4)])

    def opened(self: ImageFiles, index: int) -> Image.Image:
        raise AssertionError("opened by whoever counts the images off")

    monkeypatch.setattr(ImageFiles, "__getitem__", opened)
    assert content(made(None), Selection(files, np.array([0, 2, 4]))) == expected


def test_a_digest_is_of_content_not_of_place(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(pictures(2)[int(name == "c.png")]).save(tmp_path / name)
    a, b, c = image_digests([tmp_path / "a.png", str(tmp_path / "b.png"), tmp_path / "c.png"])
    assert a == b != c
    assert image_digests(Selection(ImageFiles(tmp_path, ["c.png", "a.png"]), np.array([1, 0, 1]))) == [a, c, a]
    flat = np.zeros((2, 3, 4, 3), np.uint8)
    tall = flat.reshape(2, 4, 3, 3)
    assert len({*image_digests([*flat, *tall]), *image_digests(list(tall + 1))}) == 3  # the shape counts


def test_what_is_no_file_has_no_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    strange = ["/dev/zero", tmp_path, tmp_path / "pipe", "nowhere.png", "https://a.b/c.png", "a\0.png", "x" * 5000]
    assert image_digests(strange) == [None] * len(strange)


def test_the_digests_of_a_data_set_s_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, pixels in enumerate(pictures(3)):
        Image.fromarray(pixels).save(tmp_path / f"{place}.png")
    files = ImageFiles(tmp_path, ["0.png", "1.png", "2.png"])
    next(iter(files.digests()))  # not all were asked for
    first = list(files.digests())
    monkeypatch.setattr(image_files, "file_digest", None)
    assert list(files.digests()) == first == image_digests(files)
    assert len(set(first)) == 3


def test_a_changed_data_set_under_the_same_path_is_another_and_an_equal_one_elsewhere_the_same(tmp_path: Path) -> None:
    root = write_cifar100_python(tmp_path / "cifar")
    images = cifar.load(root, "test").images
    content(made(tmp_path / "store"), images)
    root.rename(tmp_path / "elsewhere")
    equal, changed = made(tmp_path / "store"), made(tmp_path / "store")
    content(equal, cifar.load(tmp_path / "elsewhere", "test").images)
    assert (equal.encoded, equal.stored) == (0, 12)
    batch: Any = cifar100_batch()
    batch["data"][7] ^= 1
    write_cifar100_python(root)
    (root / "test").write_bytes(pickle.dumps(batch, protocol=2))
    now = cifar.load(root, "test").images
    assert content(changed, now) == content(made(None), now) != content(made(None), images)
    assert (changed.encoded, changed.stored) == (1, 11)
