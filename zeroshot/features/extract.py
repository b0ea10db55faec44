"""Image features in order: read from the store where it has them, encoded and stored otherwise."""

import hashlib
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.image_files import ImageFiles, file_digest
from zeroshot.data.image_set import Selection
from zeroshot.data.read_file import LARGEST
from zeroshot.errors import ZeroshotError
from zeroshot.features.store import Features, FeatureStore
from zeroshot.models.feature_batch import FeatureBatch

Images = Sequence[Any] | NDArray[np.uint8]  # paths, PIL images, arrays; or one array of all
Row = tuple[int, Features]  # an image's place and its feature [embed_dim]

log = logging.getLogger(__name__)


class ImageEncoder(Protocol):
    """What extraction needs of an encoder, or of a pool of them."""

    batch_size: int

    def feature_batches(self, images: Iterable[Any], /) -> Iterator[FeatureBatch]:
        """Unit features of the images, a batch at a time, in order."""

    def read(self, images: Iterable[Any], /) -> Iterator[NDArray[np.uint8] | ZeroshotError]:
        """The pixels of each image, or why it can't be read."""


class ImageFeatures:
    """The features of images in their order, from a store where it has them, otherwise encoded and stored.

    They come in batches of the encoder's size with the store and without, so that all that is computed of them has the
    same bits. `encoded` and `stored` count the images that were computed and those that were read from the store.

    Args:
        encoder: encodes what the store lacks.
        store: None computes everything and keeps nothing.
        list_unreadable: whether, once an image can't be read, the rest is only read, to list all such images; otherwise
            the rest is encoded.
    """

    def __init__(self, encoder: ImageEncoder, store: FeatureStore | None, list_unreadable: bool = False) -> None:
        self.encoder, self.store = encoder, store
        self._list_unreadable = list_unreadable
        self.encoded = self.stored = 0
        self._count_guard = threading.Lock()

    def batches(
        self,
        images: Images,
        errors: dict[int, str],
        progress: Callable[[Sequence[Any]], Iterable[Any]] = iter,
    ) -> Iterator[FeatureBatch]:
        """The features of all images that can be read, a batch at a time.

        Why an image can't be read is put into `errors`, by its place. `progress` passes on the images to encode.
        """
        with closing(self._rows(images, errors, progress)) as rows:
            while batch := list(islice(rows, self.encoder.batch_size)):
                yield FeatureBatch(np.array([place for place, _ in batch]), np.stack([row for _, row in batch]))

    def _rows(
        self, images: Images, errors: dict[int, str], progress: Callable[[Sequence[Any]], Iterable[Any]]
    ) -> Generator[Row, None, None]:
        digests: Sequence[bytes | None] = [None] * len(images)
        known: Mapping[bytes, Features] = {}
        if self.store is not None:
            digests = image_digests(images)
            known = self.store.read({digest for digest in digests if digest})
        missing = [place for place, digest in enumerate(digests) if digest is None or digest not in known]
        if known:
            log.info("%d of %d images are in the feature store", len(images) - len(missing), len(images))
        with closing(self._encode(images, missing, digests, errors, progress)) as encoded:
            waiting = next(encoded, None)
            for place, digest in enumerate(digests):
                if digest is not None and digest in known:
                    with self._count_guard:
                        self.stored += 1
                    yield place, known[digest]
                elif waiting is not None and waiting[0] == place:
                    yield waiting
                    waiting = next(encoded, None)

    def _encode(
        self,
        images: Images,
        missing: Sequence[int],
        digests: Sequence[bytes | None],
        errors: dict[int, str],
        progress: Callable[[Sequence[Any]], Iterable[Any]],
    ) -> Generator[Row, None, None]:
        """Place and feature of each missing image that can be read, in order."""
        sources = _Sources(images, missing)
        tracked = iter(progress(sources))
        try:
            with closing(self.encoder.feature_batches(tracked)) as batches:  # type: ignore[type-var]
                for batch in batches:
                    places = [missing[place] for place in batch.places]
                    errors |= {missing[place]: str(error) for place, error in batch.errors.items()}
                    with self._count_guard:
                        self.encoded += len(places)
                    if self.store is not None and places and batch.reproducible:
                        self._keep(images, places, digests, batch.features)
                    if errors and self._list_unreadable:
                        break
                    yield from zip(places, batch.features, strict=True)
            if errors and self._list_unreadable:
                rest = [place for place in missing if place > max(errors)]
                for place, item in zip(rest, self.encoder.read(_Sources(images, rest)), strict=True):
                    if isinstance(item, ZeroshotError):
                        errors[place] = str(item)
        finally:
            if self.store is not None:
                self.store.flush()

    def _keep(self, images: Images, places: Sequence[int], digests: Sequence[bytes | None], features: Features) -> None:
        """Stores features, but not of files that changed since their digest was taken."""
        assert self.store is not None
        rows = [row for row, place in enumerate(places) if _digest(_source(images, place)) == digests[place]]
        kept = [(row, digest) for row in rows if (digest := digests[places[row]]) is not None]
        self.store.add([digest for _, digest in kept], features[[row for row, _ in kept]])


class _Sources(Sequence[Any]):
    """Some images as the encoder reads them: files by their paths, so that its threads open them."""

    def __init__(self, images: Images, places: Sequence[int]) -> None:
        self._images, self._places = images, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _Sources(self._images, self._places[index])
        return _source(self._images, self._places[index])


def _source(images: Images, place: int) -> Any:
    if isinstance(images, Selection):
        return _source(images.images, int(images.places[place]))
    return images.path(place) if isinstance(images, ImageFiles) else images[place]


def image_digests(images: Images) -> list[bytes | None]:
    """The digest by which the store knows each image: a sha256 of a file's bytes or of an array, otherwise None."""
    if isinstance(images, Selection):
        whole = image_digests(images.images)
        return [whole[place] for place in images.places]
    if isinstance(images, ImageFiles):
        return list(images.digests())
    if isinstance(images, np.ndarray):
        return [_digest(image) for image in images]
    with ThreadPoolExecutor() as threads:
        return list(threads.map(_digest, images))


def _digest(image: Any) -> bytes | None:
    if isinstance(image, np.ndarray):
        return hashlib.sha256(f"{image.shape} {image.dtype.str}\n".encode() + image.tobytes()).digest()
    if isinstance(image, str | Path):
        with suppress(ZeroshotError, OSError, ValueError):  # whoever reads its pixels says why it can't be read
            if Path(image).is_file() and Path(image).stat().st_size <= LARGEST:  # no endless device
                return file_digest(Path(image))
    return None
