"""Unit vectors of images and texts: they do not depend on batches, and threads may share an encoder."""

import multiprocessing
import os
import pickle
import random
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.drawn import SMALL, draw
from zeroshot.errors import ZeroshotError
from zeroshot.models.cpu import CpuImageTower
from zeroshot.models.encoder import Encoder, release
from zeroshot.models.prefix_packing import TEXTS_PER_TREE, TREES_PER_BATCH

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
    plain = Encoder(SMALL, draw(SMALL), target="Ascend")  # the plain form, computed on this CPU
    np.testing.assert_allclose(plain.encode_text(FIXTURE["texts"].tolist()), FIXTURE["text"], atol=2e-5)


def test_a_short_last_batch_has_the_same_features(encoder: Encoder) -> None:
    whole = encoder.encode_image(FIXTURE["pixels"][:4])
    for count in (1, 2, 3):
        np.testing.assert_allclose(encoder.encode_image(FIXTURE["pixels"][:count]), whole[:count], atol=1e-6)


def test_any_source_of_an_image_gives_the_same_features(encoder: Encoder, tmp_path: Path) -> None:
    pixels = FIXTURE["pixels"][0]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    features = encoder.encode_image([pixels, Image.fromarray(pixels), tmp_path / "a.png", str(tmp_path / "a.png")])
    assert np.abs(features - features[0]).max() < 1e-6  # slots of a batch differ in last bits on some CPUs


def test_no_images_and_no_texts_have_no_features(encoder: Encoder) -> None:
    assert encoder.encode_image([]).shape == (0, SMALL.embed_dim)
    assert encoder.encode_text([]).shape == (0, SMALL.embed_dim)


def test_equal_texts_are_equal_and_any_number_keeps_its_order(encoder: Encoder) -> None:
    texts = [
        f"a photo of number {n % 250}{' long' * (n % 5 * 6)}" for n in range(TEXTS_PER_TREE * TREES_PER_BATCH + 30)
    ]
    features = encoder.encode_text(texts)
    for place in (0, 7, 249, 250, 269):
        np.testing.assert_allclose(features[place], encoder.encode_text([texts[place]])[0], atol=1e-6)
    assert np.array_equal(features[0], encoder.encode_text([*texts, texts[0]])[-1])
    assert np.array_equal(features, encoder.encode_text(text for text in texts))


def test_an_unreadable_image_leaves_its_slot_empty_and_is_reported_by_its_place(
    encoder: Encoder, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    images = [FIXTURE["pixels"][0], bad, FIXTURE["pixels"][1], FIXTURE["pixels"][2], bad]
    first, second = encoder.feature_batches(images)
    assert first.places.tolist() == [0, 2, 3]
    assert list(first.errors) == [1]
    assert "bad.png" in str(first.errors[1])
    assert second.places.tolist() == []
    assert second.features.shape == (0, SMALL.embed_dim)
    assert list(second.errors) == [4]
    whole = next(encoder.feature_batches(FIXTURE["pixels"][[0, 3, 1, 2]]))
    assert np.array_equal(first.features, whole.features[[0, 2, 3]])  # the same slots
    with pytest.raises(ZeroshotError, match=r"bad\.png"):
        encoder.encode_image(images)


def test_images_are_read_ahead_but_not_all_at_once(encoder: Encoder) -> None:
    requested = []

    def images() -> Iterator[np.ndarray]:
        for place in range(1000):
            requested.append(place)
            yield FIXTURE["pixels"][0]

    batches = encoder.feature_batches(images())
    next(batches)
    assert len(requested) < 20
    threads = threading.active_count()
    batches.close()
    deadline = time.monotonic() + 10
    while threading.active_count() >= threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() < threads  # its readers have ended


@pytest.mark.parametrize("calls", [40, pytest.param(200, marks=pytest.mark.long)])
def test_threads_that_share_encoders_get_their_own_answers(calls: int) -> None:
    encoders = [Encoder(SMALL, draw(SMALL, seed), batch_size=2) for seed in (0, 1)]
    texts = [f"a photo of number {number}" for number in range(10)]
    images = FIXTURE["pixels"][:4]
    expected_texts = [[each.encode_text([text]) for text in texts] for each in encoders]
    expected_images = [[each.encode_image(images[place : place + 1]) for place in range(4)] for each in encoders]
    wrong: list[str] = []

    def call(thread: int) -> None:
        numbers = random.Random(thread)
        for _ in range(calls):  # without the lock a third of the calls is wrong
            which = numbers.randrange(2)
            if numbers.random() < 0.5:
                place = numbers.randrange(len(texts))
                found, expected = encoders[which].encode_text([texts[place]]), expected_texts[which][place]
            else:
                place = numbers.randrange(len(images))
                found, expected = encoders[which].encode_image([images[place]]), expected_images[which][place]
            if np.abs(found - expected).max() > 1e-6:
                wrong.append(f"thread {thread}, encoder {which}, item {place}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_says_at_once_that_it_cannot_encode(encoder: Encoder) -> None:
    encoder.encode_text(["a"])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_encode_into, args=(encoder, queue))
    child.start()
    assert "forked process" in queue.get(timeout=20)
    child.join(20)
    assert child.exitcode == 0


def _encode_into(encoder: Encoder, queue: "multiprocessing.Queue[str]") -> None:
    try:
        encoder.encode_text(["a"])
        queue.put("encoded")
    except ZeroshotError as error:
        queue.put(str(error))


def test_an_encoder_that_is_pickled_says_what_to_do_instead(encoder: Encoder) -> None:
    with pytest.raises(ZeroshotError, match="build it in each process"):
        pickle.dumps(encoder)


def test_logit_scale_is_exponentiated(encoder: Encoder) -> None:
    assert encoder.logit_scale == pytest.approx(float(np.exp(draw(SMALL)["logit_scale"])))


def test_features_that_are_not_finite_are_refused() -> None:
    tensors = draw(SMALL)
    tensors["visual.proj"] = np.full_like(tensors["visual.proj"], 2e38)
    with pytest.raises(ZeroshotError, match="not finite"):
        Encoder(SMALL, tensors, batch_size=1).encode_image(FIXTURE["pixels"][:1])


def test_the_image_tower_is_not_built_before_an_image_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []

    def build(*arguments: Any) -> Any:
        built.append("image")
        return CpuImageTower(*arguments)

    monkeypatch.setattr("zeroshot.models.network.CpuImageTower", build)
    encoder = Encoder(SMALL, draw(SMALL), batch_size=2)
    encoder.encode_text(["a"])
    assert built == []
    for _ in range(2):
        encoder.encode_image(FIXTURE["pixels"][:3])
    assert built == ["image"]


def test_weights_are_freed_once_the_towers_have_their_own() -> None:
    tensors = draw(SMALL)
    encoder = Encoder(SMALL, tensors, batch_size=2)
    given = {name: weakref.ref(tensors.pop(name)) for name in list(tensors)}
    encoder.encode_text(["a"])
    matrices = [name for name in given if name.endswith(("in_proj_weight", "c_fc.weight"))]  # those that are folded
    assert {name for name in matrices if given[name]() is None} == {n for n in matrices if not n.startswith("visual.")}
    encoder.encode_image(FIXTURE["pixels"][:1])
    assert all(given[name]() is None for name in matrices)


def test_an_encoder_that_is_held_works_after_others_were_released(encoder: Encoder) -> None:
    before = encoder.encode_image(FIXTURE["pixels"][:4])
    release()
    np.testing.assert_allclose(encoder.encode_image(FIXTURE["pixels"][:4]), before, atol=1e-6)


def test_mindspores_compile_cache_is_not_used_where_it_is_turned_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MS_COMPILER_CACHE_ENABLE", "1")
    monkeypatch.setenv("MS_COMPILER_CACHE_PATH", str(tmp_path))
    Encoder(SMALL, draw(SMALL), batch_size=2).encode_image(FIXTURE["pixels"][:1])
    assert not list(tmp_path.iterdir())  # it tells graphs by files, so that another activation gets the wrong one
