"""Writes `zeroshot/stages/check.npz`: what transformers computes with the embedded model, for `stage=check`.

python -m tests.reference.make_check
"""

import numpy as np

from tests.reference import transformers_clip
from zeroshot.config.named import architecture, known_models
from zeroshot.data import shapes
from zeroshot.models.checkpoints.load import load
from zeroshot.models.tokenizer import Tokenizer
from zeroshot.scoring.prompts import fill_templates
from zeroshot.stages.check import FEATURES, MODEL
from zeroshot.stages.weights import weights_path

IMAGES = 64
TEMPLATES = ["a photo of a {}."]


def main() -> None:
    """Writes the file."""
    model = known_models()[MODEL]
    checkpoint = load(weights_path(model), architecture(model))
    built = transformers_clip.model(architecture(model), checkpoint.tensors)
    pixels = np.stack([np.asarray(image) for image in shapes.load(size=IMAGES).images])
    texts = fill_templates(shapes.FINE, TEMPLATES, "spaces")
    image, text = transformers_clip.features(built, pixels, Tokenizer()(texts))
    np.savez_compressed(FEATURES, texts=np.array(texts), image=image, text=text)


if __name__ == "__main__":
    main()
