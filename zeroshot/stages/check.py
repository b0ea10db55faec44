"""Whether this works here: the embedded model on a device, against features that were computed elsewhere."""

import logging
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from zeroshot import __version__
from zeroshot.config.named import known_models
from zeroshot.config.paths import PACKAGE, expand_path
from zeroshot.config.schema import Device
from zeroshot.data import shapes
from zeroshot.errors import ZeroshotError
from zeroshot.stages.parts import build, load_weights

MODEL = "clip_tiny"
FEATURES = "check.npz"  # of transformers in float32, made by tests/reference/make_check.py
BOUNDS = {"float32": 2e-5, "float16": 5e-3, "bfloat16": 5e-2}  # of a component of a unit feature
ROUNDS = 8  # passes over the images that are timed

log = logging.getLogger(__name__)


def run(device: Device) -> None:
    """Encodes the committed images and texts on a device and tells versions, speed and the largest difference.

    Raises:
        ZeroshotError: features or predictions differ by more than the bound of the device's type, or it can't be used.
    """
    model = known_models()[MODEL]
    checkpoint, _ = load_weights(model)
    encoder, described = build(model, device, checkpoint)
    expected = np.load(features_path())
    images = shapes.load(size=len(expected["image"])).images
    image, text = encoder.encode_image(images), encoder.encode_text(expected["texts"].tolist())
    started = time.perf_counter()
    for _ in range(ROUNDS):
        encoder.encode_image(images)
    rate = ROUNDS * len(images) / (time.perf_counter() - started)

    bound = BOUNDS[described["dtype"]]
    differences = {"image": np.abs(image - expected["image"]).max(), "text": np.abs(text - expected["text"]).max()}
    expected_scores = expected["image"] @ expected["text"].T
    margins = np.sort(expected_scores, axis=1)[:, -1] - np.sort(expected_scores, axis=1)[:, -2]
    changed = ((image @ text.T).argmax(axis=1) != expected_scores.argmax(axis=1)) & (margins > bound)
    log.info("zeroshot %s, MindSpore %s, Python %s", __version__, version("mindspore"), platform.python_version())
    log.info("device %s %d in %s, %.0f images/s of %s", described["target"], device.id, described["dtype"], rate, MODEL)
    log.info("features differ by %.1e (image) and %.1e (text), bound %.0e", *differences.values(), bound)
    log.info("predictions: %d of %d as expected", len(images) - changed.sum(), len(images))
    far = [name for name, difference in differences.items() if not difference <= bound]
    if far or changed.any():
        what = (
            " and ".join(f"{name} features differ by {differences[name]:.1e}" for name in far)
            or "features are near enough"
        )
        raise ZeroshotError(
            f"not ok: {what} (bound {bound:.0e}) and {changed.sum()} of {len(images)} predictions changed on "
            f"{described['target']} in {described['dtype']}: don't trust its figures; try device.dtype=float32"
        )
    log.info("ok")


def features_path() -> Path:
    """The file of the expected features: `texts` [M], `text` [M, embed_dim] and `image` [N, embed_dim]."""
    return expand_path(f"{PACKAGE}{FEATURES}")
