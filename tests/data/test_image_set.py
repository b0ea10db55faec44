"""A set of images is cut, chosen from and identified without touching its images."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeroshot.data.image_set import ImageSet, Picture, Selection, empty_classes, fingerprint


class Untouched(Sequence[Picture]):
    """Images that count how often one is made."""

    def __init__(self, count: int) -> None:
        self.size, self.made = count, list[int]()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        self.made.append(range(self.size)[index])
        return np.full((1, 1, 3), range(self.size)[index], np.uint8)


def make(count: int, classes: int = 4) -> ImageSet:
    labels = np.sort(np.arange(count, dtype=np.int64) % classes)  # sorted by class, as a folder per class is
    names = tuple(f"class {n}" for n in range(classes))
    return ImageSet("made", "test", "class", names, labels, Untouched(count), np.arange(count), "print")


@given(count=st.integers(1, 250), limit=st.integers(1, 300))
def test_a_limit_takes_that_many_evenly_spread(count: int, limit: int) -> None:
    data = make(count)
    cut = data.limited(limit)
    assert len(cut) == len(cut.images) == len(cut.indices) == min(limit, count)
    gaps = np.diff(cut.indices)
    assert cut.indices[0] == 0
    assert not len(gaps) or (gaps.min() >= 1 and gaps.max() - gaps.min() <= 1)
    assert cut.labels.tolist() == data.labels[cut.indices].tolist()
    assert cut.fingerprint == data.fingerprint
    if limit >= 4 and count >= 4 and count % 4 == 0:
        assert set(cut.labels.tolist()) == {0, 1, 2, 3}


def test_no_limit_is_the_whole_set() -> None:
    data = make(9)
    assert data.limited(None) is data


def test_images_of_a_selection_are_made_when_asked_for() -> None:
    data = make(100)
    assert isinstance(data.images, Untouched)
    chosen = data.limited(50).select(np.array([3, 1, 4], dtype=np.int64))
    assert chosen.indices.tolist() == [6, 2, 8]
    assert data.images.made == []
    assert [int(np.asarray(image).max()) for image in chosen.images[1:]] == [2, 8]
    assert data.images.made == [2, 8]
    assert isinstance(chosen.images[:2], Selection)


def test_classes_without_images_are_found() -> None:
    assert empty_classes(np.array([0, 2, 2]), ("a", "b", "c", "d")) == ["b", "d"]
    assert empty_classes(np.array([0, 1]), ("a", "b")) == []


@pytest.mark.parametrize(
    ("classes", "labels", "content"),
    [
        (["a", "b"], [0, 0], [b"xy"]),
        (["ab"], [0, 1], [b"xy"]),
        (["b", "a"], [0, 1], [b"xy"]),
        (["a", "b"], [0, 1], [b"yx"]),
        (["a", "b"], [0], [b"\1\0\0\0\0\0\0\0xy"]),
    ],
)
def test_the_fingerprint_changes_with_each_part(classes: list[str], labels: list[int], content: list[bytes]) -> None:
    first = fingerprint(["a", "b"], np.array([0, 1], dtype=np.int64), [b"x", b"y"])
    assert len(first) == 64
    assert first == fingerprint(["a", "b"], np.array([0, 1], dtype=np.int64), [b"xy"])
    assert first != fingerprint(classes, np.array(labels, dtype=np.int64), content)
