"""Image features: those that a store has are read, the rest is encoded and kept there as it comes."""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.image_files import ImageFiles, file_digest
from zeroshot.data.image_set import Selection
from zeroshot.data.read_file import LARGEST
from zeroshot.errors import ZeroshotError
from zeroshot.features.store import Features, FeatureStore
from zeroshot.scoring.ranking import FeatureBatch

if TYPE_CHECKING:
    from zeroshot.models.encoder import Encoder, Pixels

Images = Sequence[Any] | NDArray[np.uint8]  # paths, PIL images, arrays; or one array of all

log = logging.getLogger(__name__)


class ImageFeatures:
    """The features of images in their order, from a store where it has them, else encoded and kept there.

    They come in the encoder's batches with the store and without, so that all that is computed of them is the same to
    the last bit. `encoded` and `stored` count the images that were computed and those that were read.
    """

    def __init__(self, encoder: "Encoder", store: FeatureStore | None) -> None:
        self.encoder, self.store = encoder, store
        self.encoded = self.stored = 0

    def batches(
        self,
        images: Images,
        shown: Callable[[Images], Iterable[Any]] = iter,
        errors: dict[int, str] | None = None,
    ) -> Iterator[FeatureBatch]:
        """Unit features of all images that can be read, a batch at a time, with the images' places.

        `shown` passes on the images that are encoded, as they are read. Why an image can't be read goes into `errors`
        by its place; without `errors`, the first such ZeroshotError is raised.
        """
        with closing(self._rows(images, shown, errors)) as rows:
            while batch := list(islice(rows, self.encoder.batch_size)):
                yield FeatureBatch(np.array([place for place, _ in batch]), np.stack([row for _, row in batch]))

    def _rows(
        self, images: Images, shown: Callable[[Images], Iterable[Any]], errors: dict[int, str] | None
    ) -> Generator[tuple[int, Features], None, None]:
        digests: Sequence[bytes | None] = [None] * len(images)
        known: Mapping[bytes | None, Features] = {}
        if self.store is not None:
            digests = image_digests(images)
            known = cast("Mapping[bytes | None, Features]", self.store.read({each for each in digests if each}))
        missing = [place for place, digest in enumerate(digests) if digest not in known]
        if known:
            log.info("%d of %d images are in the feature store", len(images) - len(missing), len(images))
        with closing(self._encode(images, missing, digests, shown, errors)) as encoded:
            next_place, next_row = -1, None
            for place, digest in enumerate(digests):
                if digest in known:
                    self.stored += 1
                    yield place, known[digest]
                    continue
                if next_place < place:
                    next_place, next_row = next(encoded, (len(images), None))
                if next_place == place and next_row is not None:
                    yield place, next_row

    def _encode(
        self,
        images: Images,
        missing: Sequence[int],
        digests: Sequence[bytes | None],
        shown: Callable[[Images], Iterable[Any]],
        errors: dict[int, str] | None,
    ) -> Generator[tuple[int, Features], None, None]:
        """Place and feature of each missing image that can be read, in order."""
        places: deque[int] = deque()

        def readable() -> Iterator["Pixels"]:
            chosen = Sources(images, missing)
            for place, item in zip(missing, self.encoder.pixels(shown(chosen)), strict=False):
                if not isinstance(item, ZeroshotError):
                    places.append(place)
                    yield item
                elif errors is None:
                    raise item
                else:
                    errors[place] = str(item)

        try:
            for batch in self.encoder.image_batches(readable()):
                done = [places.popleft() for _ in batch]
                self.encoded += len(done)
                if self.store is not None:
                    # a file that changed since its digest was taken is not kept: which pixels were read is not known
                    now = [_digest_at(images, place) for place in done]
                    rows = [row for row, place in enumerate(done) if now[row] == digests[place]]
                    told = [(row, digest) for row in rows if (digest := now[row]) is not None]
                    self.store.add([digest for _, digest in told], batch[[row for row, _ in told]])
                yield from zip(done, batch, strict=True)
        finally:
            if self.store is not None:
                self.store.flush()


@dataclass(frozen=True)
class Sources(Sequence[Any]):
    """What the encoder is to read of some images: files by their paths, so that its threads open them."""

    images: Images
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Sources(self.images, self.places[index])
        return _source(self.images, self.places[index])


def _source(images: Images, place: int) -> Any:
    if isinstance(images, Selection):
        return _source(images.images, int(images.places[place]))
    return images.path(place) if isinstance(images, ImageFiles) else images[place]


def image_digests(images: Images) -> list[bytes | None]:
    """What tells each image from others: a sha256 of a file's bytes or of an array, else None."""
    if isinstance(images, Selection):
        whole = image_digests(images.images)
        return [whole[place] for place in images.places]
    if isinstance(images, ImageFiles):
        return list(images.digests())
    if isinstance(images, np.ndarray):
        return [_digest(image) for image in images]
    with ThreadPoolExecutor() as threads:
        return list(threads.map(_digest, images))


def _digest_at(images: Images, place: int) -> bytes | None:
    """The digest of one image as it is now."""
    return _digest(_source(images, place))


def _digest(image: Any) -> bytes | None:
    if isinstance(image, np.ndarray):
        return hashlib.sha256(f"{image.shape} {image.dtype.str}\n".encode() + image.tobytes()).digest()
    if isinstance(image, str | Path):
        with suppress(ZeroshotError, OSError, ValueError):  # whoever reads its pixels tells why it can't be read
            if Path(image).is_file() and Path(image).stat().st_size <= LARGEST:  # no endless device
                return file_digest(Path(image))
    return None
