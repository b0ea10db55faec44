"""An encoder without a network, for pools of workers: a feature is an image's mean colour, and some images do harm."""

import os
import signal
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.drawn import SMALL
from zeroshot.data.image_source import load_image
from zeroshot.devices.worker import Facts
from zeroshot.errors import ZeroshotError
from zeroshot.models.feature_batch import FeatureBatch
from zeroshot.models.preprocess import Preprocessing

SIZES = replace(SMALL, embed_dim=3)
FACTS: Facts = {"processor": "this", "versions": {"pillow": "1"}, "weights": "aa"}


class PixelEncoder:
    """Encodes an image as its mean colour; a text as its length.

    An image whose first value is a key of `harm` is met as the value says: "kill", "stop", "fail", "refuse" or "wait".
    `once` is a folder: harm that left a file there does nothing the next time.
    """

    batch_size = 4
    logit_scale = 10.0
    logit_bias = None
    tokenizer = None
    architecture = SIZES
    preprocessing = Preprocessing(SIZES.image_size)

    def __init__(self, harm: dict[int, str] | None = None, once: Path | None = None) -> None:
        self._harm, self._once = harm or {}, once

    def encode_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return pixels.mean(axis=(1, 2), dtype=np.float32)

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([[len(text)] * 3 for text in texts], np.float32)

    def feature_batches(self, images: Iterable[Any], batch_size: int | None = None) -> Generator[FeatureBatch]:
        size = batch_size or self.batch_size
        listed = list(images)
        for start in range(0, len(listed), size):
            errors: dict[int, ZeroshotError] = {}
            rows, places = [], []
            for place, image in enumerate(listed[start : start + size], start):
                try:
                    array = np.asarray(load_image(image))
                except ZeroshotError as error:
                    errors[place] = error
                    continue
                self._meet(int(array.flat[0]))
                rows.append(array.mean(axis=(0, 1), dtype=np.float32))
                places.append(place)
            yield FeatureBatch(np.array(places, np.int64), np.array(rows, np.float32).reshape(-1, 3), errors)

    def read(self, images: Iterable[Any]) -> Iterator[NDArray[np.uint8] | ZeroshotError]:
        raise NotImplementedError

    def _meet(self, value: int) -> None:
        harm = self._harm.get(value)
        if harm is None or (self._once is not None and (self._once / str(value)).exists()):
            return
        if self._once is not None:
            (self._once / str(value)).touch()
        match harm:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "fail":
                raise RuntimeError("the device is broken")
            case "refuse":
                raise ZeroshotError("features that are not finite")
            case "wait":
                time.sleep(1.0)


def build(
    harm: dict[int, str] | None = None, once: Path | None = None, facts: Facts = FACTS
) -> tuple[PixelEncoder, Facts]:
    return PixelEncoder(harm, once), facts
