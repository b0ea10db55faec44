"""`stage=check`: the embedded model, and a drawn one of each other family, on this device, against known features."""

import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zeroshot import __version__
from zeroshot.config.named import known_models
from zeroshot.config.schema import Config
from zeroshot.data import shapes
from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import OPENAI_MEAN, OPENAI_STD, Activation, Architecture
from zeroshot.models.chinese_tokenizer import ChineseTokenizer
from zeroshot.models.drawn import CHINESE_CLIP, SIGLIP, draw
from zeroshot.models.preprocess import Preprocessing
from zeroshot.models.tokenizer import Ids, TextTokenizer
from zeroshot.stages.encoder import load_new_model

if TYPE_CHECKING:
    from zeroshot.models.encoder import Encoder

MODEL = "clip_tiny"
FEATURES = Path(__file__).with_name("check.npz")  # of transformers in float32, made by tests/reference/make_check.py
TOLERANCE = {"float32": 2e-5, "float16": 5e-3, "bfloat16": 5e-2}  # of a component of a unit feature
TIMED_PASSES = 8  # over the images
# of transformers with drawn weights, for each of `FAMILIES`, made by tests/reference/make_check.py
FAMILY_FEATURES = Path(__file__).with_name("check_families.npz")
FAMILY_IMAGES = 6
HALF = (0.5, 0.5, 0.5)


class NumberTokenizer:
    """Texts that are token ids in decimals, filled up with 1 to a length: a tokenizer for drawn weights."""

    def __init__(self, length: int) -> None:
        self._length = length

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """As `TextTokenizer.ids`."""
        return [(*self.encode(text), *[1] * (self._length - len(text.split()))) for text in texts]

    def encode(self, text: str) -> list[int]:
        """As `TextTokenizer.encode`."""
        return [int(number) for number in text.split()]


@dataclass(frozen=True)
class DrawnFamily:
    """A small network of a family, with drawn weights, and the texts that it encodes."""

    size: Architecture
    preprocessing: Preprocessing
    activation: Activation
    tokenizer: TextTokenizer
    texts: tuple[str, ...]

    def encoder(self, **options: Any) -> "Encoder":
        """An encoder of the network."""
        from zeroshot.models.encoder import Encoder

        options |= {"activation": self.activation, "tokenizer": self.tokenizer}
        return Encoder(self.size, draw(self.size), self.preprocessing, **options)

    def pixels(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The images that it encodes, uint8 [N, image_size, image_size, 3]."""
        shape = (FAMILY_IMAGES, self.size.image_size, self.size.image_size, 3)
        return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


FAMILIES = {
    "chinese_clip": DrawnFamily(
        CHINESE_CLIP,
        Preprocessing(CHINESE_CLIP.image_size, "bicubic", "squash", OPENAI_MEAN, OPENAI_STD),
        "quick_gelu",
        ChineseTokenizer(CHINESE_CLIP.context_length),
        ("一张猫的照片", "狗", "a photo of a dog", "向日葵" * 16, ""),
    ),
    "siglip": DrawnFamily(
        SIGLIP,
        Preprocessing(SIGLIP.image_size, "bicubic", "squash", HALF, HALF),
        "gelu_tanh",
        NumberTokenizer(SIGLIP.context_length),
        ("3 4 5", "9", "100 200 299 12", ""),
    ),
}

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Encodes the committed images and texts, and logs versions, speed and the largest difference of a component.

    `check.npz` holds `texts` [M], `text` [M, embed_dim] and `image` [N, embed_dim]; `check_families.npz` holds the
    latter two of each family, `<family>_text` and `<family>_image`.

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
    advice = "don't trust its figures" + ("" if dtype == "float32" else "; try device.dtype=float32")
    if different or changed.any():
        what = " and ".join(f"{name} features differ by {differences[name]:.1e}" for name in different)
        raise ZeroshotError(
            f"failed: {what or 'features agree'} (tolerance {tolerance:.0e}) and {changed.sum()} of {len(images)} "
            f"predictions changed on {target} in {dtype}: {advice}"
        )
    for name, family in FAMILIES.items():
        _check_family(name, family, target, dtype, advice)
    log.info("ok")


def _check_family(name: str, family: DrawnFamily, target: str, dtype: str, advice: str) -> None:
    """Compares a drawn network of a family with its committed features."""
    encoder, expected, tolerance = (
        family.encoder(target=target, dtype=dtype),
        np.load(FAMILY_FEATURES),
        TOLERANCE[dtype],
    )
    found = {"image": encoder.encode_image(family.pixels()), "text": encoder.encode_text(family.texts)}
    differences = {kind: np.abs(each - expected[f"{name}_{kind}"]).max() for kind, each in found.items()}
    log.info("%s: features differ by %.1e (image) and %.1e (text)", name, *differences.values())
    for kind, difference in differences.items():
        if not difference <= tolerance:
            raise ZeroshotError(
                f"failed: {kind} features of {name} differ by {difference:.1e} (tolerance {tolerance:.0e}) on {target} "
                f"in {dtype}: {advice}"
            )
