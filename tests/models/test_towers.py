"""Both forms of both towers, against transformers' features of the same drawn weights, and against one another."""

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from tests.drawn import SMALL, draw
from zeroshot.models.architecture import CONTEXT_LENGTH, Architecture
from zeroshot.models.cpu import Folded
from zeroshot.models.forms import PLAIN, QUICK, Form, LayerNorm
from zeroshot.models.tokenizer import Tokenizer
from zeroshot.models.towers import Attention, ImageTower, TextTower

FIXTURE = np.load(Path(__file__).parent / "fixtures" / "features.npz")
BOUND = 2e-5  # of a unit feature in float32

# the widths, patches and grids of the four models, with few layers
SHAPES = {
    "clip_vit_b_32": Architecture(512, 224, 32, 768, 2, 512, 2),
    "clip_vit_b_16": Architecture(512, 224, 16, 768, 2, 512, 2),
    "clip_vit_l_14": Architecture(768, 224, 14, 1024, 2, 768, 2),
    "clip_vit_l_14@336": Architecture(768, 336, 14, 1024, 2, 768, 2),
}


def unit(features: ms.Tensor) -> np.ndarray:
    values: np.ndarray = features.asnumpy()
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def image_features(
    size: Architecture, tensors: dict[str, np.ndarray], pixels: np.ndarray, form: Form, dtype: ms.Type = ms.float32
) -> np.ndarray:
    weights = Folded(tensors) if form is QUICK else tensors
    return unit(ms.jit(ImageTower(size, weights, dtype, form).construct)(ms.Tensor(pixels)))


def text_features(
    size: Architecture, tensors: dict[str, np.ndarray], tokens: np.ndarray, form: Form, length: int = CONTEXT_LENGTH
) -> np.ndarray:
    weights = Folded(tensors) if form is QUICK else tensors
    tower = ms.jit(TextTower(size, weights, ms.float32, form).construct)
    return unit(tower(ms.Tensor(tokens[:, :length]), ms.Tensor(tokens.argmax(1).astype(np.int32))))


@pytest.mark.parametrize("form", [PLAIN, QUICK], ids=["plain", "quick"])
def test_image_features_are_those_of_transformers(form: Form) -> None:
    ours = image_features(SMALL, draw(SMALL), FIXTURE["pixels"], form)
    np.testing.assert_allclose(ours, FIXTURE["image"], atol=BOUND)
    assert np.abs(ours - ours[:1])[1:].max() > 100 * BOUND  # the images differ by more than the bound


@pytest.mark.parametrize("form", [PLAIN, QUICK], ids=["plain", "quick"])
def test_text_features_are_those_of_transformers(form: Form) -> None:
    tokens = Tokenizer()(FIXTURE["texts"].tolist())
    np.testing.assert_allclose(text_features(SMALL, draw(SMALL), tokens, form), FIXTURE["text"], atol=BOUND)


def test_a_text_needs_no_position_after_its_end() -> None:
    texts = ["a photo of a dog.", "cat"]
    tokens = Tokenizer()(texts)
    whole = text_features(SMALL, draw(SMALL), tokens, QUICK)
    np.testing.assert_allclose(text_features(SMALL, draw(SMALL), tokens, QUICK, length=8), whole, atol=BOUND)


@pytest.mark.parametrize("name", SHAPES)
def test_the_quick_form_equals_the_plain_one_in_the_shapes_of_every_model(name: str) -> None:
    size = SHAPES[name]
    tensors = draw(size)
    pixels = np.random.default_rng(3).integers(0, 256, (2, size.image_size, size.image_size, 3), np.uint8)
    tokens = Tokenizer()(["a photo of a dog.", "a sunflower"])
    np.testing.assert_allclose(
        image_features(size, tensors, pixels, QUICK), image_features(size, tensors, pixels, PLAIN), atol=BOUND
    )
    np.testing.assert_allclose(
        text_features(size, tensors, tokens, QUICK, 16), text_features(size, tensors, tokens, PLAIN, 16), atol=BOUND
    )


@pytest.mark.parametrize(
    "name",
    [
        "visual.class_embedding",
        "visual.positional_embedding",
        "visual.ln_pre.bias",
        "visual.transformer.resblocks.2.attn.in_proj_bias",
        "visual.transformer.resblocks.1.attn.out_proj.bias",
        "visual.transformer.resblocks.0.ln_2.weight",
        "visual.transformer.resblocks.2.mlp.c_fc.bias",
        "visual.ln_post.bias",
    ],
)
def test_no_parameter_of_the_image_tower_is_dropped(name: str) -> None:
    tensors = draw(SMALL)
    tensors[name] = tensors[name] + np.random.default_rng(1).normal(0, 0.1, tensors[name].shape).astype(np.float32)
    changed = image_features(SMALL, tensors, FIXTURE["pixels"], QUICK)
    assert np.abs(changed - FIXTURE["image"]).max() > 10 * BOUND


def test_the_exact_gelu_differs_from_quick_gelu_and_is_the_same_in_both_forms() -> None:
    tensors = draw(SMALL)
    pixels = ms.Tensor(FIXTURE["pixels"])
    plain = unit(ms.jit(ImageTower(SMALL, tensors, ms.float32, PLAIN, "gelu").construct)(pixels))
    folded = Folded(tensors, "gelu")
    quick = unit(ms.jit(ImageTower(SMALL, folded, ms.float32, QUICK, "gelu").construct)(pixels))
    np.testing.assert_allclose(plain, FIXTURE["image_gelu"], atol=BOUND)
    np.testing.assert_allclose(quick, plain, atol=BOUND)
    assert np.abs(plain - FIXTURE["image"]).max() > 10 * BOUND


def test_half_precision_keeps_its_norms_and_softmax_in_float32() -> None:

    tensors = draw(SMALL)
    norm = LayerNorm(tensors, "visual.ln_pre")
    assert norm.weight.dtype == norm.bias.dtype == ms.float32
    # squares of these overflow float16: only a norm in float32 survives them
    x = ms.Tensor(np.linspace(-6e4, 6e4, 2 * SMALL.vision_width).reshape(2, -1), ms.float16)
    y = norm(x)
    assert y.dtype == ms.float16
    assert np.isfinite(y.asnumpy()).all()
    seen: list[ms.Type] = []
    attention = Attention(tensors, "visual.transformer.resblocks.0.attn", SMALL.vision_width, ms.float16, PLAIN)
    softmax = attention.softmax

    def noted(logits: ms.Tensor) -> ms.Tensor:
        seen.append(logits.dtype)
        return softmax(logits)

    attention.softmax = noted
    rows = ms.Tensor(np.ones((4, SMALL.vision_width)), ms.float16)
    attention.construct(rows, rows, 2, None)
    assert seen == [ms.float32]


def test_half_precision_gives_nearly_the_same_features() -> None:
    half = image_features(SMALL, draw(SMALL), FIXTURE["pixels"], PLAIN, ms.float16)
    np.testing.assert_allclose(half, FIXTURE["image"], atol=1e-2)
