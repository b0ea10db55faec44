"""The drawn data set is the same bytes everywhere, balanced, varied, and survives CIFAR-100's layout."""

import pickle
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zeroshot.data import cifar, shapes
from zeroshot.data.image_set import ImageSet
from zeroshot.errors import ZeroshotError

TEST = "107b7e526456536d0220b2272448f489562f4f6eb3af7df3b663cd208c4d0e0e"
TRAIN = "a82c1d3109d7f95aba663600f677806ad1189f9f0a9c7c91511c4a293a6cf313"


def pixels(data: ImageSet) -> shapes.Pixels:
    return np.stack([np.asarray(image) for image in data.images])


@pytest.mark.parametrize(("split", "digest"), [("test", TEST), ("train", TRAIN)])
def test_images_are_the_same_bytes_on_every_machine(split: str, digest: str) -> None:
    drawn = shapes.load(split)  # type: ignore[arg-type]
    assert sha256(drawn.labels.astype("<i8").tobytes() + pixels(drawn).tobytes()).hexdigest() == digest


def test_a_direction_is_never_near_a_rounding_edge() -> None:
    angle = np.arange(256) * (2 * np.pi / 256)
    fraction = np.abs(256 * np.cos(angle)) % 1
    assert np.abs(fraction - 0.5).min() > 1e-4


def test_the_names_are_ten_colours_times_ten_shapes() -> None:
    assert len(set(shapes.FINE)) == 100
    assert shapes.FINE[:2] == ("red circle", "red square")
    assert shapes.load("test", "fine", size=1).classes == shapes.FINE
    assert shapes.load("test", "coarse", size=1).classes == shapes.SHAPES


def test_the_unseen_pairs_are_spread_over_all_colours_and_shapes() -> None:
    assert len(set(shapes.UNSEEN)) == 20
    assert set(shapes.UNSEEN) < set(shapes.FINE)
    colours, forms = zip(*(name.split() for name in shapes.UNSEEN), strict=True)
    assert Counter(colours) == dict.fromkeys(shapes.COLOURS, 2)
    assert Counter(forms) == dict.fromkeys(shapes.SHAPES, 2)


def test_every_class_has_ten_test_images() -> None:
    drawn = shapes.load("test")
    assert np.bincount(drawn.labels).tolist() == [10] * 100
    assert np.bincount(drawn.limited(100).labels, minlength=100).max() < 10
    assert {image.shape for image in pixels(drawn)} == {(32, 32, 3)}


def test_coarse_labels_are_the_shapes_of_the_same_images() -> None:
    fine, coarse = shapes.load("test", "fine", size=200), shapes.load("test", "coarse", size=200)
    assert np.array_equal(pixels(fine), pixels(coarse))
    names = [fine.classes[label].split()[1] for label in fine.labels]
    assert names == [coarse.classes[label] for label in coarse.labels]
    assert fine.fingerprint != coarse.fingerprint


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 300), st.integers(1, 300))
def test_a_larger_set_begins_with_the_smaller_one(seed: int, one: int, other: int) -> None:
    small, large = (shapes.load("test", seed=seed, size=size) for size in sorted((one, other)))
    assert np.array_equal(small.labels, large.labels[: len(small)])
    assert np.array_equal(pixels(small), pixels(large)[: len(small)])


def test_splits_and_seeds_share_no_image() -> None:
    sets = [shapes.load("test"), shapes.load("train"), shapes.load("test", seed=1), shapes.load("train", seed=1)]
    images = [image.tobytes() for data in sets for image in pixels(data)]
    assert len(set(images)) == len(images) == 4000
    assert len({data.fingerprint for data in sets}) == 4
    assert shapes.load("test", seed=0).fingerprint == sets[0].fingerprint


def test_a_shape_shows_its_colour_before_a_background_that_differs() -> None:
    """Shapes lie anywhere, so the middle of an image is only drawn towards the named colour, over many images."""
    label = shapes.FINE.index("white square")
    other = shapes.FINE.index("black square")
    white, black = (shapes.draw([which] * 200, 5).astype(float) for which in (label, other))
    middle, edge = (slice(None), slice(12, 20), slice(12, 20)), (slice(None), slice(0, 2), slice(0, 2))
    assert white[middle].mean() - black[middle].mean() > 50
    assert white[middle].mean() - white[edge].mean() > 15
    assert black[edge].mean() - black[middle].mean() > 15


@pytest.mark.parametrize("shape", range(10))
def test_each_shape_is_its_own(shape: int) -> None:
    mask = shapes._masks()
    union, common = mask | mask[shape], mask & mask[shape]
    overlap = common.sum(axis=1) / union.sum(axis=1)
    assert (np.delete(overlap, shape) < 0.85).all()
    assert 0.15 < mask[shape].mean() < 0.6


def test_less_variety_leaves_a_shape_upright_in_the_middle_on_grey() -> None:
    still, all_of_it = (shapes.draw([shapes.FINE.index("black circle")] * 100, 6, variety=some) for some in (0, 256))
    still, all_of_it = still.astype(float), all_of_it.astype(float)
    assert (
        np.abs(still[:, :4].mean(axis=(1, 2)) - 128).max() < 40 < np.abs(all_of_it[:, :4].mean(axis=(1, 2)) - 128).max()
    )
    dark = (still < 90).all(axis=3).mean(axis=0)
    assert np.abs(dark - dark[::-1]).max() < 0.2  # a circle in the middle is the same upside down
    assert np.abs(dark - dark[:, ::-1]).max() < 0.2


def test_one_image_can_be_drawn_larger() -> None:
    assert shapes.draw([4, 17], 3, side=96).shape == (2, 96, 96, 3)


@pytest.mark.parametrize("labels", ["fine", "coarse"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_cifar_layout_holds_the_same_set(split: str, labels: str, tmp_path: Path) -> None:
    shapes.write_cifar(tmp_path / "cifar-100-python", train=200, test=100)
    size = {"train": 200, "test": 100}[split]
    drawn = shapes.load(split, labels, size=size)  # type: ignore[arg-type]
    read = cifar.load(tmp_path / "cifar-100-python", split, labels)
    assert read.classes == drawn.classes
    assert np.array_equal(read.labels, drawn.labels)
    assert np.array_equal(pixels(read), pixels(drawn))
    assert read.fingerprint == drawn.fingerprint


def test_the_cifar_layout_has_the_keys_and_types_of_the_original(tmp_path: Path) -> None:
    shapes.write_cifar(tmp_path, train=100, test=100)
    meta = pickle.loads((tmp_path / "meta").read_bytes(), encoding="bytes")  # noqa: S301
    assert set(meta) == {b"fine_label_names", b"coarse_label_names"}
    for split, title in (("train", b"training batch 1 of 1"), ("test", b"testing batch 1 of 1")):
        batch = pickle.loads((tmp_path / split).read_bytes(), encoding="bytes")  # noqa: S301
        assert set(batch) == {b"filenames", b"batch_label", b"fine_labels", b"coarse_labels", b"data"}
        assert batch[b"batch_label"] == title
        assert (batch[b"data"].dtype, batch[b"data"].shape) == (np.dtype("u1"), (100, 3072))
        assert {type(label) for label in batch[b"fine_labels"] + batch[b"coarse_labels"]} == {int}
        assert {type(name) for name in batch[b"filenames"]} == {bytes}
        text = pickle.loads((tmp_path / split).read_bytes(), encoding="latin1")  # noqa: S301
        assert set(text) == {"filenames", "batch_label", "fine_labels", "coarse_labels", "data"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "dataset.size"),
        ({"seed": -1}, "seed -1"),
        ({"split": "val"}, "train or test"),
        ({"labels": "colours"}, "fine or coarse"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ZeroshotError, match=message):
        shapes.load(**arguments)  # type: ignore[arg-type]
