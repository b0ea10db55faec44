"""`zeroshot.pipeline` with a B/32 in which every parameter is drawn, against transformers' own pipeline on torch."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

pytest.importorskip("torch", reason="the live comparison needs torch")
pytest.importorskip("transformers", reason="the live comparison needs transformers")

from tests.drawn import draw
from tests.reference import transformers_pipeline
from zeroshot import pipeline
from zeroshot.config.named import architecture, known_models

SCORES = 1e-4
CASES = (("a picture of {}", "bilinear"), ("This is a photo of {}.", "bicubic"))
LABELS = ["sunflower", "tree", "dog", "cat", "toy", "aquarium fish", "bird's nest", "fire_truck", "1e3", "a, b"]
IMAGES = Path(__file__).parents[1] / "models" / "fixtures" / "images"


def pictures() -> list[Image.Image]:
    """Pictures of many sizes, RGB: what transformers makes of other modes is another matter (README.md)."""
    drawn = [Image.open(path).convert("RGB") for path in sorted(IMAGES.glob("[2-9][0-9][0-9]x[2-9][0-9][0-9].png"))]
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 40, 3), np.uint8)
    return drawn + [Image.fromarray(each) for each in noise]


def test_scores_and_order_are_those_of_transformers_pipeline(tmp_path: Path) -> None:
    size = architecture(known_models()["clip_vit_b_32"])
    tensors = draw(size)
    save_file(tensors, tmp_path / "b32.safetensors")
    images = pictures()
    wanted = {}  # theirs first: once MindSpore's threads run in this process, torch's may wait for ever
    for template, interpolation in CASES:
        theirs = transformers_pipeline.pipeline(size, tensors, interpolation)
        wanted[template] = theirs(images, candidate_labels=LABELS, hypothesis_template=template)
    for template, interpolation in CASES:
        ours = pipeline(
            "zero-shot-image-classification",
            model="clip_vit_b_32",
            weights=tmp_path / "b32.safetensors",
            candidate_labels=LABELS,
            prompt=template,
            interpolation=interpolation,
        )
        made = ours(images)
        furthest, best = 0.0, set()
        for scores, other in zip(made, wanted[template], strict=True):
            score = {each["label"]: each["score"] for each in scores}
            reference = {each["label"]: each["score"] for each in other}
            assert score.keys() == reference.keys()
            furthest = max(furthest, *(abs(score[label] - reference[label]) for label in LABELS))
            order = [reference[each["label"]] for each in scores]
            # the same order, but for scores that lie closer than the two agree
            assert all(first >= second - 1e-5 for first, second in pairwise(order))
            best.add(scores[0]["label"])
        summary = f"scores differ by {furthest:.1e} at most, {len(best)} labels win"
        print(f"{template!r}, {interpolation}: {len(images)} images, {summary}")  # noqa: T201
        assert furthest < SCORES
        assert len(best) >= 3
        alone = ours(images[0])[0]
        assert [each["score"] for each in alone] == pytest.approx([each["score"] for each in made[0]], abs=1e-5)
