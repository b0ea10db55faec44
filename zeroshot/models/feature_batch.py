"""What an encoder returns for a batch of images."""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.image_source import is_one_image
from zeroshot.errors import ZeroshotError


@dataclass(frozen=True)
class FeatureBatch:
    """Unit features [N, embed_dim], float32, of the images of a batch that can be read.

    `places` [N] are their places in the sequence that was given; `errors` say by place why others can't be read.
    `reproducible` is False if another kind of processor than this process's computed them: their last bits may differ.
    """

    places: NDArray[np.int64]
    features: NDArray[np.float32]
    errors: dict[int, ZeroshotError] = field(default_factory=dict)
    reproducible: bool = True


def concatenated(
    feature_batches: Callable[[Iterable[Any]], Generator[FeatureBatch]],
    images: Sequence[Any] | NDArray[np.uint8],
    embed_dim: int,
) -> NDArray[np.float32]:
    """Unit features [N, embed_dim] of a list of images or one uint8 array [N, H, W, 3], by an encoder's batches.

    Raises:
        ZeroshotError: an image can't be read, or it is not a list.
    """
    if is_one_image(images) or isinstance(images, dict | set) or not isinstance(images, Iterable):
        raise ZeroshotError("encode_image takes a list of images, or an array [N, height, width, 3]: put it in [ ]")
    features = [np.zeros((0, embed_dim), np.float32)]
    with closing(feature_batches(images)) as batches:
        for batch in batches:
            for error in batch.errors.values():
                raise error
            features.append(batch.features)
    return np.concatenate(features)
