"""Writes what transformers computes for `stage=check`, which the tests use too.

`zeroshot/stages/check.npz` is of the embedded model, `check_families.npz` of a drawn network of each other family.

python -m tests.reference.make_check
"""

import numpy as np

from tests.reference import transformers_clip, transformers_families
from zeroshot.config.named import architecture, known_models
from zeroshot.data import shapes
from zeroshot.models.checkpoints.load import load
from zeroshot.models.drawn import draw
from zeroshot.models.tokenizer import Tokenizer
from zeroshot.scoring.prompts import fill_templates
from zeroshot.stages.check import FAMILIES, FAMILY_FEATURES, FEATURES, MODEL
from zeroshot.stages.weights import weights_path

IMAGES = 64
TEMPLATES = ["a photo of a {}."]


def main() -> None:
    """Writes the files."""
    model = known_models()[MODEL]
    checkpoint = load(weights_path(model), architecture(model))
    built = transformers_clip.model(architecture(model), checkpoint.tensors)
    pixels = np.stack([np.asarray(image) for image in shapes.load(size=IMAGES).images])
    texts = fill_templates(shapes.FINE, TEMPLATES, "spaces")
    image, text = transformers_clip.features(built, pixels, Tokenizer()(texts))
    np.savez_compressed(FEATURES, texts=np.array(texts), image=image, text=text)
    arrays = {}
    for name, family in FAMILIES.items():
        reference = transformers_families.model(family.size, draw(family.size), family.activation)
        statistics = family.preprocessing.mean, family.preprocessing.std
        arrays[f"{name}_image"] = transformers_families.image_features(reference, family.pixels(), *statistics)
        arrays[f"{name}_text"] = transformers_families.text_features(reference, family.tokenizer.ids(family.texts))
    np.savez_compressed(FAMILY_FEATURES, **arrays)


if __name__ == "__main__":
    main()
