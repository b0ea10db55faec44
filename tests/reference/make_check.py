"""Makes `zeroshot/check.npz`: what transformers computes with the embedded model, for `stage=check`.

python -m tests.reference.make_check
"""

import numpy as np

from tests.reference import transformers_clip
from zeroshot.check import FEATURES, MODEL
from zeroshot.clip import weights
from zeroshot.clip.tokenizer import Tokenizer
from zeroshot.config import architecture, folder_of, known_models, path_of
from zeroshot.data import shapes
from zeroshot.prompts import fill

IMAGES = 64
TEMPLATES = ["a photo of a {}."]


def main() -> None:
    """Writes the file."""
    model = known_models()[MODEL]
    checkpoint = weights.load(path_of(str(model.weights.url)), architecture(model))
    built = transformers_clip.model(architecture(model), checkpoint.tensors)
    pixels = np.stack([np.asarray(image) for image in shapes.load(size=IMAGES).images])
    texts = fill(shapes.FINE, TEMPLATES, "spaces")
    image, text = transformers_clip.features(built, pixels, Tokenizer()(texts))
    path = folder_of("conf").parent / "zeroshot" / FEATURES
    np.savez_compressed(path, texts=np.array(texts), image=image, text=text)


if __name__ == "__main__":
    main()
