"""Makes `tests/models/fixtures/features.npz`: what transformers computes for a small CLIP whose weights are drawn.

    python -m tests.reference.make_features

The weights are drawn anew by the tests, so the fixture holds features alone.
"""

from pathlib import Path

import numpy as np

from tests.drawn import SMALL, draw
from tests.reference import transformers_clip
from zeroshot.models.tokenizer import Tokenizer

FIXTURE = Path(__file__).parents[1] / "models" / "fixtures" / "features.npz"
TEXTS = ["", "a", "a photo of a dog.", "a photo of the big pickup truck.", "向日葵", "word " * 75]


def main() -> None:
    """Writes the fixture."""
    pixels = np.random.default_rng(7).integers(0, 256, (5, SMALL.image_size, SMALL.image_size, 3), np.uint8)
    tokens = Tokenizer()(TEXTS)
    image, text = transformers_clip.features(transformers_clip.model(SMALL, draw(SMALL)), pixels, tokens)
    image_gelu, _ = transformers_clip.features(transformers_clip.model(SMALL, draw(SMALL), "gelu"), pixels, tokens)
    FIXTURE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FIXTURE, pixels=pixels, texts=np.array(TEXTS), image=image, text=text, image_gelu=image_gelu)


if __name__ == "__main__":
    main()
