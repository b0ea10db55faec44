"""Batches of a fixed shape to unit vectors: nothing depends on how images and texts are batched."""

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.drawn import SMALL, draw
from zeroshot.errors import ZeroshotError
from zeroshot.models.encoder import Encoder, release
from zeroshot.models.prefix_packing import TEXTS, TREES
from zeroshot.models.towers import ImageTower

FIXTURE = np.load(Path(__file__).parent / "fixtures" / "features.npz")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(SMALL, draw(SMALL), batch_size=4, workers=3)


def test_features_are_unit_vectors_and_those_of_transformers(encoder: Encoder) -> None:
    image, text = encoder.encode_image(FIXTURE["pixels"]), encoder.encode_text(FIXTURE["texts"].tolist())
    np.testing.assert_allclose(image, FIXTURE["image"], atol=2e-5)
    np.testing.assert_allclose(text, FIXTURE["text"], atol=2e-5)
    for features in (image, text):
        assert features.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)


def test_texts_packed_into_trees_are_those_of_transformers_in_the_plain_form_too() -> None:
    plain = Encoder(SMALL, draw(SMALL), target="Ascend")  # whose form it is; it is computed here
    np.testing.assert_allclose(plain.encode_text(FIXTURE["texts"].tolist()), FIXTURE["text"], atol=2e-5)


def test_a_short_last_batch_gives_the_same_rows(encoder: Encoder) -> None:
    whole = encoder.encode_image(FIXTURE["pixels"][:4])
    for count in (1, 2, 3):
        assert np.array_equal(encoder.encode_image(FIXTURE["pixels"][:count]), whole[:count])


def test_any_source_of_an_image_gives_the_same_features(encoder: Encoder, tmp_path: Path) -> None:
    pixels = FIXTURE["pixels"][0]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    features = encoder.encode_image([pixels, Image.fromarray(pixels), tmp_path / "a.png", str(tmp_path / "a.png")])
    assert all(np.array_equal(row, features[0]) for row in features)


def test_nothing_gives_nothing(encoder: Encoder) -> None:
    assert encoder.encode_image([]).shape == (0, SMALL.embed_dim)
    assert encoder.encode_text([]).shape == (0, SMALL.embed_dim)


def test_equal_texts_are_equal_and_any_number_keeps_its_order(encoder: Encoder) -> None:
    texts = [f"a photo of number {n % 250}{' long' * (n % 5 * 6)}" for n in range(TEXTS * TREES + 30)]
    features = encoder.encode_text(texts)
    for place in (0, 7, 249, 250, 269):
        np.testing.assert_allclose(features[place], encoder.encode_text([texts[place]])[0], atol=1e-6)
    assert np.array_equal(features[0], encoder.encode_text([*texts, texts[0]])[-1])


def test_an_image_that_cannot_be_read_is_raised_or_given_in_its_place(encoder: Encoder, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    sources = [FIXTURE["pixels"][0], bad, FIXTURE["pixels"][1]]
    read = list(encoder.pixels(sources))
    assert [isinstance(item, ZeroshotError) for item in read] == [False, True, False]
    with pytest.raises(ZeroshotError, match=r"bad\.png"):
        encoder.encode_image(sources)


def test_images_are_read_ahead_but_not_all_at_once(encoder: Encoder) -> None:
    asked = []

    def sources() -> Iterator[np.ndarray]:
        for place in range(1000):
            asked.append(place)
            yield FIXTURE["pixels"][0]

    features = encoder.image_batches(encoder.whole(encoder.pixels(sources())))
    next(features)
    assert len(asked) < 20
    features.close()  # type: ignore[attr-defined]


def test_logit_scale_is_exponentiated(encoder: Encoder) -> None:
    assert encoder.logit_scale == pytest.approx(float(np.exp(draw(SMALL)["logit_scale"])))


def test_features_that_are_not_finite_are_no_result() -> None:
    tensors = draw(SMALL)
    tensors["visual.proj"] = np.full_like(tensors["visual.proj"], 2e38)
    with pytest.raises(ZeroshotError, match="not finite"):
        Encoder(SMALL, tensors, batch_size=1).encode_image(FIXTURE["pixels"][:1])


def test_the_image_tower_is_not_made_before_an_image_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    tower = ImageTower

    def told(*arguments: Any) -> Any:
        made.append("image")
        return tower(*arguments)

    monkeypatch.setattr("zeroshot.models.encoder.ImageTower", told)
    encoder = Encoder(SMALL, draw(SMALL), batch_size=2)
    encoder.encode_text(["a"])
    assert made == []
    for _ in range(2):
        encoder.encode_image(FIXTURE["pixels"][:3])
    assert made == ["image"]


def test_weights_are_let_go_once_the_towers_have_their_own() -> None:
    tensors = draw(SMALL)
    encoder = Encoder(SMALL, tensors, batch_size=2)
    given = {name: weakref.ref(tensors.pop(name)) for name in list(tensors)}
    encoder.encode_text(["a"])
    matrices = [name for name in given if name.endswith(("in_proj_weight", "c_fc.weight"))]  # those that are folded
    assert {name for name in matrices if given[name]() is None} == {n for n in matrices if not n.startswith("visual.")}
    encoder.encode_image(FIXTURE["pixels"][:1])
    assert all(given[name]() is None for name in matrices)


def test_an_encoder_that_is_held_works_on_after_others_were_let_go(encoder: Encoder) -> None:
    before = encoder.encode_image(FIXTURE["pixels"][:4])
    release()
    assert np.array_equal(encoder.encode_image(FIXTURE["pixels"][:4]), before)


def test_mindspore_s_compile_cache_is_not_used_where_it_is_turned_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MS_COMPILER_CACHE_ENABLE", "1")
    monkeypatch.setenv("MS_COMPILER_CACHE_PATH", str(tmp_path))
    Encoder(SMALL, draw(SMALL), batch_size=2).encode_image(FIXTURE["pixels"][:1])
    assert not list(tmp_path.iterdir())  # it tells graphs by files, so that another activation gets the wrong one
