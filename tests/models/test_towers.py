"""The towers and their CPU form, against transformers' features of the same drawn weights, and against one another."""

from dataclasses import replace
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from tests.drawn import SMALL, draw
from zeroshot.models.architecture import CONTEXT_LENGTH, Activation, Architecture
from zeroshot.models.cpu import CpuImageTower, CpuTextTower
from zeroshot.models.folded import Folded
from zeroshot.models.preprocess import Preprocessing
from zeroshot.models.tokenizer import Tokenizer
from zeroshot.models.towers import Attention, ImageTower, LayerNorm, TextTower

FIXTURE = np.load(Path(__file__).parent / "fixtures" / "features.npz")
BOUND = 2e-5  # of a unit feature in float32

# the widths, patches and grids of the four models, of open_clip's H/14 and g/14, with few layers
SHAPES = {
    "clip_vit_b_32": Architecture(512, 224, 32, 768, 2, 512, 2),
    "clip_vit_b_16": Architecture(512, 224, 16, 768, 2, 512, 2),
    "clip_vit_l_14": Architecture(768, 224, 14, 1024, 2, 768, 2),
    "clip_vit_l_14@336": Architecture(768, 336, 14, 1024, 2, 768, 2),
    "open_clip H/14": Architecture(1024, 224, 14, 1280, 1, 1024, 1, vision_heads=16),
    "open_clip g/14": Architecture(1024, 224, 14, 1408, 1, 1024, 1, vision_heads=16, vision_mlp_width=6144),
}


def unit(features: ms.Tensor) -> np.ndarray:
    values: np.ndarray = features.asnumpy()
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def image_features(
    size: Architecture,
    tensors: dict[str, np.ndarray],
    pixels: np.ndarray,
    cpu: bool,
    dtype: ms.Type = ms.float32,
    activation: Activation = "quick_gelu",
    preprocessing: Preprocessing | None = None,
) -> np.ndarray:
    statistics = preprocessing or Preprocessing(size.image_size)
    if cpu:
        tower = CpuImageTower(size, Folded(size, tensors, statistics, activation), activation)
    else:
        tower = ImageTower(size, tensors, statistics, dtype, activation)
    return unit(ms.jit(tower.construct)(ms.Tensor(pixels)))


def text_features(
    size: Architecture, tensors: dict[str, np.ndarray], tokens: np.ndarray, cpu: bool, length: int = CONTEXT_LENGTH
) -> np.ndarray:
    """The features of texts in a row each, the tokens after `length` left out."""
    if cpu:
        tower = CpuTextTower(size, Folded(size, tensors, Preprocessing(size.image_size), "quick_gelu"), "quick_gelu")
    else:
        tower = TextTower(size, tensors)
    rows = len(tokens)
    positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
    visible = np.tile(np.tri(length, dtype=np.bool_), (rows, 1, 1))
    inputs = (tokens[:, :length], positions, visible, tokens.argmax(1).astype(np.int32)[:, None])
    return unit(ms.jit(tower.construct)(*map(ms.Tensor, inputs)))


@pytest.mark.parametrize("cpu", [False, True], ids=["plain", "cpu"])
def test_image_features_are_those_of_transformers(cpu: bool) -> None:
    ours = image_features(SMALL, draw(SMALL), FIXTURE["pixels"], cpu)
    np.testing.assert_allclose(ours, FIXTURE["image"], atol=BOUND)
    assert np.abs(ours - ours[:1])[1:].max() > 100 * BOUND  # the images differ by more than the bound


@pytest.mark.parametrize("cpu", [False, True], ids=["plain", "cpu"])
def test_text_features_are_those_of_transformers(cpu: bool) -> None:
    tokens = Tokenizer()(FIXTURE["texts"].tolist())
    np.testing.assert_allclose(text_features(SMALL, draw(SMALL), tokens, cpu), FIXTURE["text"], atol=BOUND)


def test_a_text_needs_no_token_after_its_end() -> None:
    texts = ["a photo of a dog.", "cat"]
    tokens = Tokenizer()(texts)
    whole = text_features(SMALL, draw(SMALL), tokens, cpu=True)
    np.testing.assert_allclose(text_features(SMALL, draw(SMALL), tokens, cpu=True, length=8), whole, atol=BOUND)


@pytest.mark.parametrize("name", SHAPES)
def test_the_cpu_form_equals_the_plain_one_in_the_shapes_of_every_model(name: str) -> None:
    size = replace(SHAPES[name], vocabulary=512)
    tensors = draw(size)
    pixels = np.random.default_rng(3).integers(0, 256, (2, size.image_size, size.image_size, 3), np.uint8)
    tokens = np.random.default_rng(4).integers(0, 511, (2, CONTEXT_LENGTH), np.int32)
    tokens[[0, 1], [7, 11]] = 511  # the end of a text is its highest id
    images = [image_features(size, tensors, pixels, cpu) for cpu in (False, True)]
    texts = [text_features(size, tensors, tokens, cpu, 16) for cpu in (False, True)]
    np.testing.assert_allclose(images[0], images[1], atol=BOUND)
    np.testing.assert_allclose(texts[0], texts[1], atol=BOUND)


def test_mean_and_std_are_those_of_the_preprocessing_in_both_forms() -> None:
    half = Preprocessing(SMALL.image_size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    plain, cpu = (
        image_features(SMALL, draw(SMALL), FIXTURE["pixels"], cpu, preprocessing=half) for cpu in (False, True)
    )
    np.testing.assert_allclose(plain, cpu, atol=BOUND)
    assert np.abs(plain - FIXTURE["image"]).max() > 100 * BOUND


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
    changed = image_features(SMALL, tensors, FIXTURE["pixels"], cpu=True)
    assert np.abs(changed - FIXTURE["image"]).max() > 10 * BOUND


def test_the_exact_gelu_differs_from_quick_gelu_and_is_the_same_in_both_forms() -> None:
    plain, cpu = (
        image_features(SMALL, draw(SMALL), FIXTURE["pixels"], cpu, activation="gelu") for cpu in (False, True)
    )
    np.testing.assert_allclose(plain, FIXTURE["image_gelu"], atol=BOUND)
    np.testing.assert_allclose(cpu, plain, atol=BOUND)
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
    attention = Attention(tensors, "visual.transformer.resblocks.0.attn", SMALL.vision_heads, ms.float16)
    softmax = attention.softmax

    def record_dtype(logits: ms.Tensor) -> ms.Tensor:
        seen.append(logits.dtype)
        return softmax(logits)

    attention.softmax = record_dtype
    rows = ms.Tensor(np.ones((4, SMALL.vision_width)), ms.float16)
    attention.construct(rows, 2, None)
    assert seen == [ms.float32]


def test_half_precision_gives_nearly_the_same_features() -> None:
    half = image_features(SMALL, draw(SMALL), FIXTURE["pixels"], False, ms.float16)
    np.testing.assert_allclose(half, FIXTURE["image"], atol=1e-2)
