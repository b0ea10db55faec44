"""A stand-in for the encoder, and a process that encodes with it, to be killed, run twice at once, or refused a disk.

`python -m tests.quick_encoder ROOT IMAGES SECONDS [LIMIT [LARGEST_FILE]]` encodes that many images with the store in
ROOT and `SECONDS` a batch, writes a full stop for each batch, and at the end the sha256 of all features.
"""

import hashlib
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.read_image import open_image
from zeroshot.errors import ZeroshotError
from zeroshot.features.extract import ImageFeatures
from zeroshot.features.store import LIMIT, FeatureStore
from zeroshot.models.feature_batch import FeatureBatch

WIDTH = 24
KEY = {"weights": "drawn", "dtype": "float32"}


class QuickEncoder:
    """Features that depend on an image's pixels alone, and a count of the images that were encoded."""

    def __init__(self, batch_size: int = 16, seconds: float = 0.0, dots: bool = False) -> None:
        self.batch_size, self.seconds, self.dots = batch_size, seconds, dots
        self.sizes: list[int] = []

    def read(self, images: Iterable[Any]) -> Iterator[NDArray[np.uint8] | ZeroshotError]:
        for image in images:
            try:
                yield np.asarray(open_image(image))
            except ZeroshotError as error:
                yield error

    def feature_batches(self, images: Iterable[Any]) -> Iterator[FeatureBatch]:
        source, start = iter(self.read(images)), 0
        while batch := list(islice(source, self.batch_size)):
            time.sleep(self.seconds)
            self.sizes.append(len(batch))
            if self.dots:
                os.write(1, b".")
            errors = {start + slot: item for slot, item in enumerate(batch) if isinstance(item, ZeroshotError)}
            rows = [(start + slot, item) for slot, item in enumerate(batch) if not isinstance(item, ZeroshotError)]
            features = np.array([feature(pixels) for _, pixels in rows], np.float32).reshape(-1, WIDTH)
            yield FeatureBatch(np.array([place for place, _ in rows], np.int64), features, errors)
            start += len(batch)


def feature(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    digest = hashlib.sha384(pixels.tobytes()).digest()
    return np.frombuffer(digest, "<u2").astype(np.float32) / 65535


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """So many small pictures, uint8 [count, 4, 4, 3]; no two are the same."""
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), np.uint8)
    drawn[:, 0, 0] = np.arange(count).astype("<u4").view(np.uint8).reshape(count, 4)[:, :3]
    return drawn


def main(root: str, images: str, seconds: str, limit: str = str(LIMIT), largest: str = "") -> None:
    if largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
    encoder: Any = QuickEncoder(seconds=float(seconds), dots=True)
    features = ImageFeatures(encoder, FeatureStore(Path(root), KEY, WIDTH, int(limit)))
    digest = hashlib.sha256()
    for batch in features.batches(pictures(int(images)), {}):
        digest.update(batch.features.tobytes())
    os.write(1, f"\n{digest.hexdigest()} {features.encoded} {features.stored}".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
