"""Models from their config: weights where they are, one model at a time in a sweep, words that were not trained."""

import logging
import weakref
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.drawn import SMALL
from zeroshot.config.named import known_models
from zeroshot.config.schema import Device, Model, Source, Target, Weights
from zeroshot.downloads import digest
from zeroshot.errors import ZeroshotError
from zeroshot.models.encoder import Encoder
from zeroshot.models.tokenizer import Tokenizer
from zeroshot.stages import encoder as stage
from zeroshot.stages.weights import weights_path

CPU = Device(target=Target.CPU)


def test_words_that_the_weights_were_not_trained_on_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    known = sorted(set(Tokenizer().encode("a photo of a red circle .")))
    loaded: Any = SimpleNamespace(
        model={"name": "mine"},
        checkpoint=SimpleNamespace(token_ids=np.array(known)),
        encoder=SimpleNamespace(tokenizer=Tokenizer()),
    )
    with caplog.at_level(logging.WARNING):
        stage.warn_of_untrained_words(loaded, ["a photo of a red circle.", "a red circle"])
        assert caplog.messages == []
        stage.warn_of_untrained_words(loaded, ["a red dog", "a photo of a dog", "a cat"])
    assert caplog.messages == ["mine was not trained on these words: dog, cat"]


def test_a_model_without_sources_says_how_to_give_weights() -> None:
    with pytest.raises(ZeroshotError, match=r"model=mine has no weights: set model\.weights\.path.*quickstart"):
        weights_path(Model(name="mine", weights=Weights()))


def test_a_file_of_the_package_that_was_changed_is_not_used() -> None:
    def packaged(file: str) -> Model:
        return Model(name="mine", weights=Weights(sources=[Source(f"package:{file}", "0" * 64)]))

    with pytest.raises(ZeroshotError, match=r"was changed .*install zeroshot-mindspore again"):
        weights_path(packaged("runs/published.yaml"))
    with pytest.raises(ZeroshotError, match="is missing from this installation"):
        weights_path(packaged("nowhere"))


def test_the_digests_of_openais_files_are_in_their_addresses_too() -> None:
    for name, model in known_models().items():
        for source in model.weights.sources:
            if "openaipublic" in source.url:
                assert source.sha256 in source.url.split("/"), name


def test_the_jobs_of_a_sweep_share_a_model_until_its_files_change(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(small_weights.read_bytes())
    model = Model(name="own", **vars(SMALL), weights=Weights(path=str(path)))
    monkeypatch.setattr(stage, "_last", None)
    first = stage.load_model(model, CPU)
    assert stage.load_model(replace(model), replace(CPU)) is first
    assert stage.load_model(model, replace(CPU, batch_size=3)).encoder.batch_size == 3
    second = stage.load_model(model, CPU)
    assert second is not first  # one alone is held
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    third = stage.load_model(model, CPU)
    assert third.model["weights"]["sha256"] != second.model["weights"]["sha256"]
    keys = [stage.feature_store(model, each).folder for each in (first, second, third)]
    assert keys[0] == keys[1] != keys[2]


def test_a_start_reads_a_weights_file_once_for_its_digest(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(small_weights.read_bytes())
    read: list[Path] = []
    update = digest.update

    def counted(hashing: Any, file: Path) -> None:
        read.append(file)
        update(hashing, file)

    monkeypatch.setattr(digest, "update", counted)
    monkeypatch.setattr(stage, "_last", None)
    model = Model(name="own", **vars(SMALL), weights=Weights(path=str(path)))
    for batch_size in (2, 3):
        stage.load_model(model, replace(CPU, batch_size=batch_size))
    assert read == [path]


@pytest.mark.skipif(metadata.version("mindspore").startswith("2.7"), reason="2.7 keeps all that it compiled")
def test_a_second_model_frees_the_first(small_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(name="own", **vars(SMALL), weights=Weights(path=str(small_weights)))
    monkeypatch.setattr(stage, "_last", None)
    encoder = stage.load_model(model, CPU).encoder
    assert isinstance(encoder, Encoder)
    encoder.encode_text(["a"])
    held = weakref.ref(encoder._text_tower.__self__.token_embedding)  # type: ignore[attr-defined]
    del encoder
    assert held() is not None
    stage.load_model(model, replace(CPU, batch_size=3))
    assert held() is None


def test_msrun_is_refused_with_what_replaces_it(small_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    model = Model(name="own", **vars(SMALL), weights=Weights(path=str(small_weights)))
    with pytest.raises(ZeroshotError, match=r"start one without msrun, with device\.count=N for N devices"):
        stage.load_new_model(model, CPU)
