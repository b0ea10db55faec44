"""Makes `zeroshot/check.npz`: what transformers computes with the embedded model, for `stage=check`.

python -m tests.reference.make_check
"""

import numpy as np

from tests.reference import transformers_clip
from zeroshot.config.named import architecture, known_models
from zeroshot.config.paths import expand_path, source_folder
from zeroshot.data import shapes
from zeroshot.models.checkpoints import load as checkpoint_load
from zeroshot.models.tokenizer import Tokenizer
from zeroshot.scoring.prompts import fill_templates
from zeroshot.stages.check import FEATURES, MODEL

IMAGES = 64
TEMPLATES = ["a photo of a {}."]


def main() -> None:
    """Writes the file."""
    model = known_models()[MODEL]
    checkpoint = checkpoint_load.load(expand_path(str(model.weights.url)), architecture(model))
    built = transformers_clip.model(architecture(model), checkpoint.tensors)
    pixels = np.stack([np.asarray(image) for image in shapes.load(size=IMAGES).images])
    texts = fill_templates(shapes.FINE, TEMPLATES, "spaces")
    image, text = transformers_clip.features(built, pixels, Tokenizer()(texts))
    path = source_folder("conf").parent / "zeroshot" / FEATURES
    np.savez_compressed(path, texts=np.array(texts), image=image, text=text)


if __name__ == "__main__":
    main()
