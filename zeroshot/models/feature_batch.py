"""What an encoder returns for a batch of images."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from zeroshot.errors import ZeroshotError


@dataclass(frozen=True)
class FeatureBatch:
    """Unit features [N, embed_dim], float32, of the images of a batch that can be read.

    `places` [N] are their places in the sequence that was given; `errors` say by place why others can't be read.
    """

    places: NDArray[np.int64]
    features: NDArray[np.float32]
    errors: dict[int, ZeroshotError] = field(default_factory=dict)
