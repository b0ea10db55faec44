"""The four models of the real sizes on real CIFAR-100 images, through the command line, against transformers on torch.

Every parameter is drawn, so nothing is hidden by an initial zero. Needs torch, transformers and the test set beside the
checkout; each is said where it is missing.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the live comparison needs torch")
pytest.importorskip("transformers", reason="the live comparison needs transformers")

from tests.drawn import draw  # noqa: E402
from tests.reference import transformers_clip  # noqa: E402
from zeroshot.config.named import architecture, known_models, prompt_templates  # noqa: E402
from zeroshot.data import cifar  # noqa: E402
from zeroshot.models.encoder import Encoder  # noqa: E402
from zeroshot.models.tokenizer import Tokenizer  # noqa: E402
from zeroshot.scoring.prompts import fill_templates  # noqa: E402

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "cifar-100-python"
FEATURES = 2e-5  # of a component of a unit feature
MARGIN = 1e-5  # in cosine, under which two classes may change places

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real CIFAR-100 test set is not at {DATA}")


@pytest.mark.parametrize(
    ("name", "limit", "prompt"),
    [
        ("clip_vit_b_32", 512, "openai_cifar"),
        ("clip_vit_b_16", 64, "photo"),
        ("clip_vit_l_14", 32, "photo"),
        ("clip_vit_l_14@336", 16, "photo"),
    ],
)
def test_predictions_and_features_are_those_of_transformers(name: str, limit: int, prompt: str, tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor

    size = architecture(known_models()[name])
    tensors = draw(size)
    reference = transformers_clip.model(size, tensors)
    reference.save_pretrained(tmp_path / "weights")
    command = [
        *(
            sys.executable,
            "-m",
            "zeroshot",
            f"model={name}",
            f"model.weights.path={tmp_path / 'weights'}",
            f"prompt={prompt}",
        ),
        *(f"dataset.root={DATA}", f"dataset.limit={limit}", f"hydra.run.dir={tmp_path / 'out'}", "device=cpu"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201

    data = cifar.load(DATA, "test", "fine").limited(limit)
    processor = CLIPImageProcessor(size={"shortest_edge": size.image_size}, crop_size=size.image_size)
    texts = fill_templates(data.classes, prompt_templates(prompt), "spaces")
    tokens = Tokenizer()(texts)
    image, text = [], []
    with torch.no_grad():
        for start in range(0, limit, 16):
            pixels = processor([data.images[i] for i in range(start, min(start + 16, limit))], return_tensors="pt")
            image.append(transformers_clip.image_features(reference, pixels["pixel_values"]))
        for start in range(0, len(tokens), 50):
            text.append(transformers_clip.text_features(reference, tokens[start : start + 50]))
    image_features, text_features = np.concatenate(image), np.concatenate(text)
    means = text_features.astype(np.float64).reshape(len(data.classes), -1, size.embed_dim).mean(axis=1)
    cosines = image_features @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T

    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        predicted = np.array([data.classes.index(row["prediction"]) for row in csv.DictReader(file)])
    best = cosines.argmax(axis=1)
    lost = cosines.max(axis=1) - cosines[np.arange(limit), predicted]
    classes = len(set(best.tolist()))
    summary = f"{(predicted == best).sum()} of {limit} predictions equal, {classes} classes occur"
    print(f"{name}: {summary}, margins lost {lost.max():.1e}")  # noqa: T201
    assert lost.max() < MARGIN
    if limit == 512:
        assert classes >= 20

    encoder = Encoder(size, tensors)
    few = min(limit, 16)
    image_difference = np.abs(encoder.encode_image([data.images[i] for i in range(few)]) - image_features[:few]).max()
    text_difference = np.abs(encoder.encode_text(texts[:64]) - text_features[:64]).max()
    print(f"{name}: features differ by {image_difference:.1e} (image), {text_difference:.1e} (text)")  # noqa: T201
    assert image_difference < FEATURES
    assert text_difference < FEATURES
