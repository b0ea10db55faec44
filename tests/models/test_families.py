"""The towers of Chinese-CLIP and SigLIP and their forms, against transformers' features of the same drawn weights."""

from dataclasses import replace

import numpy as np
import pytest

from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import Architecture
from zeroshot.models.drawn import CHINESE_CLIP, draw
from zeroshot.models.encoder import Encoder
from zeroshot.models.padded_texts import SHORT, TOKENS_PER_BATCH, batches, lengths, ordered
from zeroshot.stages.check import FAMILIES, FAMILY_FEATURES, DrawnFamily

EXPECTED = np.load(FAMILY_FEATURES)
BOUND = 2e-5  # of a unit feature in float32


# widths, patches, heads and MLPs of the models, with one layer
def shape(width: int, image_size: int, patch_size: int, heads: int = 0, mlp_width: int = 0) -> Architecture:
    return Architecture(
        width, image_size, patch_size, width, 1, width, 1, heads, heads, mlp_width, mlp_width,
        vocabulary=300, context_length=64, family="siglip",
    )  # fmt: skip


SHAPES = {"SigLIP B/16": shape(768, 224, 16), "SigLIP2 so400m/14 of fewer patches": shape(1152, 110, 14, 16, 4304)}


@pytest.mark.parametrize("target", ["CPU", "Ascend"])  # the quick form and the plain one, both computed on this CPU
@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_those_of_transformers(name: str, target: str) -> None:
    encoder = FAMILIES[name].encoder(target=target)
    image, text = encoder.encode_image(FAMILIES[name].pixels()), encoder.encode_text(FAMILIES[name].texts)
    np.testing.assert_allclose(image, EXPECTED[f"{name}_image"], atol=BOUND)
    np.testing.assert_allclose(text, EXPECTED[f"{name}_text"], atol=BOUND)
    for features in (image, text):
        assert np.abs(features - features[:1])[1:].max() > 100 * BOUND  # they differ by more than the bound


@pytest.mark.parametrize("name", SHAPES)
def test_siglips_cpu_form_equals_the_plain_one_in_the_shapes_of_its_models(name: str) -> None:
    size = SHAPES[name]
    preprocessing = replace(FAMILIES["siglip"].preprocessing, image_size=size.image_size)
    family = replace(FAMILIES["siglip"], size=size, preprocessing=preprocessing)
    plain, cpu = (family.encoder(target=target, batch_size=2) for target in ("Ascend", "CPU"))
    np.testing.assert_allclose(
        plain.encode_image(family.pixels()[:2]), cpu.encode_image(family.pixels()[:2]), atol=BOUND
    )
    np.testing.assert_allclose(plain.encode_text(family.texts), cpu.encode_text(family.texts), atol=BOUND)


def changed(family: DrawnFamily, name: str) -> Encoder:
    """The encoder with one parameter changed."""
    tensors = draw(family.size)
    tensors[name] = tensors[name] + np.random.default_rng(1).normal(0, 0.1, tensors[name].shape).astype(np.float32)
    return Encoder(family.size, tensors, family.preprocessing, activation=family.activation, tokenizer=family.tokenizer)


@pytest.mark.parametrize(
    "name",
    [
        "visual.conv1.bias",
        "visual.positional_embedding",
        "visual.ln_post.weight",
        "visual.ln_post.bias",
        "visual.pool.probe",
        "visual.pool.attn.in_proj_bias",
        "visual.pool.attn.out_proj.bias",
        "visual.pool.ln_2.bias",
        "visual.pool.mlp.c_fc.bias",
        "ln_final.bias",
        "head.bias",
    ],
)
def test_no_parameter_of_siglip_is_dropped(name: str) -> None:
    family = FAMILIES["siglip"]
    encoder = changed(family, name)
    if name.startswith("visual."):
        difference = encoder.encode_image(family.pixels()) - EXPECTED["siglip_image"]
    else:
        difference = encoder.encode_text(family.texts) - EXPECTED["siglip_text"]
    assert np.abs(difference).max() > 10 * BOUND


@pytest.mark.parametrize("name", ["token_type_embedding", "ln_embedding.bias", "transformer.resblocks.1.ln_2.bias"])
def test_no_parameter_of_the_bert_is_dropped(name: str) -> None:
    family = FAMILIES["chinese_clip"]
    difference = changed(family, name).encode_text(family.texts) - EXPECTED["chinese_clip_text"]
    assert np.abs(difference).max() > 10 * BOUND


def test_an_encoder_of_another_family_needs_its_tokenizer() -> None:
    with pytest.raises(ZeroshotError, match="of the family chinese_clip needs its tokenizer"):
        Encoder(CHINESE_CLIP, draw(CHINESE_CLIP))


def test_padded_texts_have_few_shapes_and_keep_their_order() -> None:
    texts = ordered(
        [(101, *[7] * count, 102) for count in (0, 3, 14, 15, 50, 3)] + [(101, each, 102) for each in range(200)]
    )
    assert len(texts) == 205
    assert lengths(CHINESE_CLIP) == (SHORT, 52)
    found = list(batches(texts, CHINESE_CLIP))
    assert {each.tokens.shape for each in found} == {(TOKENS_PER_BATCH // 16, 16), (TOKENS_PER_BATCH // 52, 52)}
    rows = [(batch, slot) for batch in found for slot in batch.slots]
    assert [tuple(batch.tokens[slot, : len(text)]) for (batch, slot), text in zip(rows, texts, strict=True)] == texts
    for (batch, slot), text in zip(rows, texts, strict=True):
        assert batch.visible[slot].sum(axis=1).tolist() == [len(text)] * batch.tokens.shape[1]


def test_a_text_has_the_same_feature_alone_and_among_longer_ones() -> None:
    family = FAMILIES["chinese_clip"]
    encoder = family.encoder()
    np.testing.assert_allclose(encoder.encode_text(["狗"]), EXPECTED["chinese_clip_text"][1:2], atol=BOUND)
    twice = encoder.encode_text(["狗", "狗" * 50, "狗"])
    assert (twice[0] == twice[2]).all()
