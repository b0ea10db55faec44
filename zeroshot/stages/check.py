"""`stage=check`: the embedded model on this device, compared with features that were computed elsewhere."""

import logging
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from zeroshot import __version__
from zeroshot.config.named import known_models
from zeroshot.config.schema import Config
from zeroshot.data import shapes
from zeroshot.errors import ZeroshotError
from zeroshot.stages.encoder import load_new_model

MODEL = "clip_tiny"
FEATURES = Path(__file__).with_name("check.npz")  # of transformers in float32, made by tests/reference/make_check.py
TOLERANCE = {"float32": 2e-5, "float16": 5e-3, "bfloat16": 5e-2}  # of a component of a unit feature
TIMED_PASSES = 8  # over the images

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Encodes the committed images and texts, and logs versions, speed and the largest difference of a component.

    `check.npz` holds `texts` [M], `text` [M, embed_dim] and `image` [N, embed_dim].

    Raises:
        ZeroshotError: features or predictions differ by more than the tolerance of the device's dtype, or the device
            can't be used.
    """
    loaded = load_new_model(known_models()[MODEL], config.device)
    encoder, target, dtype = loaded.encoder, loaded.device["target"], loaded.device["dtype"]
    expected = np.load(FEATURES)
    images = shapes.load(size=len(expected["image"])).images
    image, text = encoder.encode_image(images), encoder.encode_text(expected["texts"].tolist())
    started = time.perf_counter()
    for _ in range(TIMED_PASSES):
        encoder.encode_image(images)
    rate = TIMED_PASSES * len(images) / (time.perf_counter() - started)

    tolerance = TOLERANCE[dtype]
    differences = {"image": np.abs(image - expected["image"]).max(), "text": np.abs(text - expected["text"]).max()}
    scores = expected["image"] @ expected["text"].T
    best, second = np.sort(scores, axis=1)[:, :-3:-1].T
    changed = ((image @ text.T).argmax(axis=1) != scores.argmax(axis=1)) & (best - second > tolerance)
    log.info("zeroshot %s, MindSpore %s, Python %s", __version__, version("mindspore"), platform.python_version())
    log.info("device %s %d in %s, %.0f images/s of %s", target, config.device.id, dtype, rate, MODEL)
    log.info("features differ by %.1e (image) and %.1e (text), tolerance %.0e", *differences.values(), tolerance)
    log.info("predictions: %d of %d as expected", len(images) - changed.sum(), len(images))
    different = [name for name, difference in differences.items() if not difference <= tolerance]
    if different or changed.any():
        what = " and ".join(f"{name} features differ by {differences[name]:.1e}" for name in different)
        raise ZeroshotError(
            f"failed: {what or 'features agree'} (tolerance {tolerance:.0e}) and {changed.sum()} of {len(images)} "
            f"predictions changed on {target} in {dtype}: don't trust its figures; try device.dtype=float32"
        )
    log.info("ok")
