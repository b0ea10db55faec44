"""Features in order and in batches of one size, whatever part of them a store has."""

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
from zeroshot.features.extract import ImageFeatures, image_digests
from zeroshot.features.store import FeatureStore


def features_of(root: Path | None, batch_size: int = 8) -> ImageFeatures:
    encoder: Any = QuickEncoder(batch_size)
    return ImageFeatures(encoder, None if root is None else FeatureStore(root, KEY, WIDTH))


def content(features: ImageFeatures, images: Any, errors: dict[int, str] | None = None) -> list[bytes]:
    """Places, shape and bytes of each batch."""
    return [
        each.places.tobytes() + f"{each.features.shape}{each.features.dtype}".encode() + each.features.tobytes()
        for each in features.batches(images, {} if errors is None else errors)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_batches_are_the_same_whatever_part_the_store_has(tmp_path: Path, seed: int) -> None:
    images, chance = pictures(61), random.Random(seed)
    stored = [place for place in range(61) if chance.random() < seed / 9]
    content(features_of(tmp_path), images[stored])
    plain, first, second = features_of(None), features_of(tmp_path), features_of(tmp_path)
    assert content(plain, images) == content(first, images) == content(second, images)
    assert (plain.encoded, plain.stored) == (61, 0)
    assert (first.encoded, first.stored) == (61 - len(stored), len(stored))
    assert (second.encoded, second.stored) == (0, 61)
    sizes = first.encoder.sizes  # type: ignore[attr-defined]
    assert all(size == 8 for size in sizes[:-1])  # the missing ones are encoded in full batches


@pytest.mark.parametrize("stored", [[], [0, 1, 2], [1, 4, 6, 11], range(12)])
def test_an_unreadable_image_is_reported_by_its_place_with_the_store_and_without(
    tmp_path: Path, stored: list[int]
) -> None:
    paths: list[str] = []
    for place, pixels in enumerate(pictures(12)):
        paths.append(str(tmp_path / f"{place}.png"))
        Image.fromarray(pixels).save(paths[-1])
    for place, bad in ((0, b"no image"), (5, None), (11, Path(paths[11]).read_bytes()[:50])):
        Path(paths[place]).unlink() if bad is None else Path(paths[place]).write_bytes(bad)
    content(features_of(tmp_path / "store", 5), [paths[place] for place in stored], {})
    without, within = dict[int, str](), dict[int, str]()
    plain, storing = features_of(None, 5), features_of(tmp_path / "store", 5)
    assert content(plain, paths, without) == content(storing, paths, within)
    assert without == within
    assert sorted(within) == [0, 5, 11]
    assert all(paths[place] in error for place, error in within.items())
    assert storing.encoded + storing.stored == plain.encoded == 9


def test_after_an_unreadable_image_the_rest_is_only_read_where_all_are_to_be_listed(tmp_path: Path) -> None:
    images: list[Any] = [*pictures(20), tmp_path / "a.png", *pictures(20, seed=1), tmp_path / "b.png"]
    encoder: Any = QuickEncoder(8)
    features = ImageFeatures(encoder, FeatureStore(tmp_path / "store", KEY, WIDTH), list_unreadable=True)
    errors: dict[int, str] = {}
    content(features, images, errors)
    assert sorted(errors) == [20, 41]
    assert encoder.sizes == [8, 8, 8]
    again = features_of(tmp_path / "store")
    content(again, images[:20])
    assert again.stored == 20  # what was encoded before is kept


def test_a_consumer_that_stops_early_keeps_what_was_encoded(tmp_path: Path) -> None:
    batches = features_of(tmp_path).batches(pictures(50), {})
    next(batches)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    again = features_of(tmp_path)
    content(again, pictures(50))
    assert again.stored == 16


def test_progress_counts_only_images_that_the_store_lacks(tmp_path: Path) -> None:
    images = pictures(20)
    content(features_of(tmp_path), images[5:])
    counts: list[int] = []

    def progress(missing: Any) -> Any:
        counts.append(len(missing))
        return missing

    for _ in range(2):
        list(features_of(tmp_path).batches(images, {}, progress))
    assert counts == [5, 0]


def test_a_file_that_changes_before_it_is_encoded_is_not_stored(tmp_path: Path) -> None:
    old, new = pictures(2)
    path = tmp_path / "a.png"
    Image.fromarray(old).save(path)
    before = path.read_bytes()
    files = ImageFiles(tmp_path, ["a.png"])
    list(files.digests())
    Image.fromarray(new).save(path)
    (batch,) = features_of(tmp_path / "store").batches(files, {})
    assert np.array_equal(batch.features[0], feature(new))
    path.write_bytes(before)
    (batch,) = features_of(tmp_path / "store").batches(files, {})
    assert np.array_equal(batch.features[0], feature(old))


def test_a_file_that_changes_after_it_was_read_is_not_stored_either(tmp_path: Path) -> None:
    old, new = pictures(2)
    path = tmp_path / "a.png"
    Image.fromarray(old).save(path)
    features = features_of(tmp_path / "store")
    read = features.encoder.read

    def read_and_change(images: Any) -> Any:
        for item in read(images):
            Image.fromarray(new).save(path)
            yield item

    features.encoder.read = read_and_change  # type: ignore[method-assign]
    (batch,) = features.batches([path], {})
    assert np.array_equal(batch.features[0], feature(old))
    (batch,) = features_of(tmp_path / "store").batches([path], {})
    assert np.array_equal(batch.features[0], feature(new))


def test_an_image_without_a_digest_is_encoded_each_time(tmp_path: Path) -> None:
    images = [Image.fromarray(each) for each in pictures(3)]
    for _ in range(2):
        features = features_of(tmp_path)
        content(features, images)
        assert (features.encoded, features.stored) == (3, 0)
    assert not list(tmp_path.iterdir())


def test_files_are_opened_by_the_threads_of_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in range(5):
        Image.new("RGB", (4, 4), (place, 0, 0)).save(tmp_path / f"{place}.png")
    files = ImageFiles(tmp_path, [f"{place}.png" for place in range(5)])
    expected = content(features_of(None), [files.path(place) for place in (0, 2, 4)])

    def opened(self: ImageFiles, index: int) -> Image.Image:
        raise AssertionError("opened by the calling thread")

    monkeypatch.setattr(ImageFiles, "__getitem__", opened)
    assert content(features_of(None), Selection(files, np.array([0, 2, 4]))) == expected


def test_a_digest_depends_on_content_and_not_on_the_path(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(pictures(2)[int(name == "c.png")]).save(tmp_path / name)
    a, b, c = image_digests([tmp_path / "a.png", str(tmp_path / "b.png"), tmp_path / "c.png"])
    assert a == b != c
    assert image_digests(Selection(ImageFiles(tmp_path, ["c.png", "a.png"]), np.array([1, 0, 1]))) == [a, c, a]
    flat = np.zeros((2, 3, 4, 3), np.uint8)
    tall = flat.reshape(2, 4, 3, 3)
    assert len({*image_digests([*flat, *tall]), *image_digests(list(tall + 1))}) == 3  # the shape counts


def test_what_is_not_a_file_has_no_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    others = ["/dev/zero", tmp_path, tmp_path / "pipe", "nowhere.png", "https://a.b/c.png", "a\0.png", "x" * 5000]
    assert image_digests(others) == [None] * len(others)


def test_the_files_of_a_data_set_are_digested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, pixels in enumerate(pictures(3)):
        Image.fromarray(pixels).save(tmp_path / f"{place}.png")
    files = ImageFiles(tmp_path, ["0.png", "1.png", "2.png"])
    next(iter(files.digests()))  # not all of them
    first = list(files.digests())
    monkeypatch.setattr(image_files, "file_digest", None)
    assert list(files.digests()) == first == image_digests(files)
    assert len(set(first)) == 3


def test_features_are_found_by_content_when_a_data_set_moves_or_changes(tmp_path: Path) -> None:
    root = write_cifar100_python(tmp_path / "cifar")
    images = cifar.load(root, "test").images
    content(features_of(tmp_path / "store"), images)
    root.rename(tmp_path / "elsewhere")
    equal, changed = features_of(tmp_path / "store"), features_of(tmp_path / "store")
    content(equal, cifar.load(tmp_path / "elsewhere", "test").images)
    assert (equal.encoded, equal.stored) == (0, 12)
    batch: Any = cifar100_batch()
    batch["data"][7] ^= 1
    write_cifar100_python(root)
    (root / "test").write_bytes(pickle.dumps(batch, protocol=2))
    now = cifar.load(root, "test").images
    assert content(changed, now) == content(features_of(None), now) != content(features_of(None), images)
    assert (changed.encoded, changed.stored) == (1, 11)
