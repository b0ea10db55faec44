"""Networks in which every parameter is drawn, so that a dropped bias or gain shows: to check a device, and in tests."""

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from zeroshot.models.architecture import Architecture

CHINESE_CLIP = Architecture(
    embed_dim=64, image_size=32, patch_size=8, vision_width=128, vision_layers=3, text_width=128, text_layers=2,
    vocabulary=21128, context_length=52, family="chinese_clip",
)  # fmt: skip
SIGLIP = Architecture(
    embed_dim=128, image_size=36, patch_size=8, vision_width=128, vision_layers=3, text_width=128, text_layers=2,
    text_mlp_width=192, vocabulary=300, context_length=64, family="siglip",
)  # fmt: skip


def draw(architecture: Architecture, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Draw every tensor of `architecture.shapes()` as float32; each depends on the seed and its name alone.

    Gains are N(1, 0.1), biases N(0, 0.02). Matrices are wider than at the start of a training, so that attention is
    uneven and the features of two images, or of two texts, differ.
    """
    return {name: _draw(name, shape, seed) for name, shape in architecture.shapes().items()}


def _draw(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng([seed, crc32(name.encode())]).standard_normal(shape, dtype=np.float32)
    tensor = np.asarray(drawn, dtype=np.float32)
    centre, spread = _distribution(name, shape)
    tensor *= np.float32(spread)
    tensor += np.float32(centre)
    return tensor


def _distribution(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation of the tensor called `name`."""
    kind = name.split(".")[-2:]
    if name == "logit_scale":
        return 4.0, 0.1
    if name == "logit_bias":
        return -3.0, 0.1
    if kind[-1] == "probe":
        return 0.0, 1.0
    if kind[-1].endswith("bias"):
        return 0.0, 0.02
    if kind[0].startswith("ln_"):
        return 1.0, 0.1
    if "embedding" in name:
        return 0.0, 0.3 if "positional" in name or "class" in name else 1.0
    fan_in = shape[0] if name.endswith(("proj", "text_projection")) else int(np.prod(shape[1:]))
    return 0.0, _GAINS.get(kind[-1] if kind[-1].startswith("in_proj") else kind[0], 1.0) / fan_in**0.5


_GAINS = {"in_proj_weight": 1.8, "out_proj": 1.5, "conv1": 3.0}
