"""Weights by the config: their settings agree with the model's or are refused; a hub's repository serves as a file."""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.downloads.hub_server import HubServer, only_hub
from tests.drawn import SMALL
from zeroshot.config.named import known_models
from zeroshot.config.schema import Activation, Family, Model, Resize, Source, Weights
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.identity import file_digest
from zeroshot.stages import weights
from zeroshot.stages.weights import load_weights

HALF = [0.5, 0.5, 0.5]


def small(path: Path | str | None, **more: Any) -> Model:
    return Model(
        name="small", **asdict(SMALL), **({"weights": Weights(path=None if path is None else str(path))} | more)
    )


@pytest.fixture
def beside(small_weights: Path, tmp_path: Path) -> Path:
    """The weights beside an open_clip config with the exact GELU and statistics of 0.5."""
    size = SMALL
    vision = {"width": size.vision_width, "layers": size.vision_layers, "patch_size": size.patch_size}
    vision["head_width"] = size.vision_width // size.vision_heads
    text = {"width": size.text_width, "heads": size.text_heads}
    pixels = {"mean": HALF, "std": HALF, "resize_mode": "squash"}
    config = {"model_cfg": {"vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": pixels}
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "open_clip_model.safetensors").write_bytes(small_weights.read_bytes())
    (tmp_path / "repository" / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path / "repository"


@pytest.fixture
def hub(beside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that has the repository."""
    with only_hub({path.name: path.read_bytes() for path in beside.iterdir()}, tmp_path, monkeypatch) as running:
        yield running


FITTING: dict[str, Any] = {"activation": Activation.gelu, "mean": HALF, "std": HALF, "resize": Resize.squash}


def test_weights_with_other_settings_are_refused_with_the_keys_to_type(beside: Path) -> None:
    with pytest.raises(ZeroshotError, match="trained with another activation, mean, std, resize: type ") as caught:
        load_weights(small(beside))
    typed = dict(re.findall(r"model\.(\w+)=(\S+)", str(caught.value)))
    assert typed == {"activation": "gelu", "mean": "'[0.5,0.5,0.5]'", "std": "'[0.5,0.5,0.5]'", "resize": "squash"}
    _, record = load_weights(small(beside, **FITTING))
    assert (record["activation"], record["mean"], record["std"], record["resize"]) == ("gelu", HALF, HALF, "squash")
    assert record["assumed"] == []


@pytest.mark.parametrize("key", FITTING)
def test_one_setting_that_differs_is_enough(key: str, beside: Path) -> None:
    fitting = {name: value for name, value in FITTING.items() if name != key}
    with pytest.raises(ZeroshotError, match=rf"another {key}: type model\.{key}="):
        load_weights(small(beside, **fitting))


def test_what_nothing_says_is_assumed_and_recorded_so(small_weights: Path) -> None:
    _, record = load_weights(small(small_weights))
    assert record["assumed"] == ["activation", "mean", "std", "resize"]


def test_weights_of_a_known_digest_have_the_settings_of_their_model(
    small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = small(None, **FITTING)
    monkeypatch.setattr(weights, "known_models", lambda: {"famous": known})
    monkeypatch.setattr(weights, "identify_file", {file_digest(small_weights): "famous"}.get)
    with pytest.raises(ZeroshotError, match=r"these are the weights of famous: type model=famous$"):
        load_weights(small(small_weights))
    _, record = load_weights(small(small_weights, **FITTING))
    assert (record["assumed"], record["weights"]["identity"]) == ([], "famous")


def test_a_repository_of_a_hub_serves_as_its_folder(hub: HubServer, beside: Path) -> None:
    checkpoint, record = load_weights(small("hf:org/clip", **FITTING))
    here, _ = load_weights(small(beside, **FITTING))
    assert record["weights"]["sha256"] == file_digest(beside)
    assert record["weights"]["format"] == "openai-safetensors"
    assert all((checkpoint.tensors[name] == here.tensors[name]).all() for name in here.tensors)
    with pytest.raises(ZeroshotError, match=r"type model\.activation=gelu model\.mean="):
        load_weights(small("hf:org/clip"))


def test_a_repository_of_a_named_model_is_that_model(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Weights(sources=[Source(url="hf:org/clip")])
    known = small(None, **(FITTING | {"weights": own}))
    monkeypatch.setattr(weights, "known_models", lambda: {"famous": known})
    with pytest.raises(ZeroshotError, match=r"these are the weights of famous: type model=famous$"):
        load_weights(small("hf:org/clip"))
    _, record = load_weights(replace(known, name="famous"))
    assert (record["weights"]["identity"], record["assumed"]) == ("famous", [])
    _, record = load_weights(small(None, **(FITTING | {"weights": Weights(sources=[Source(url="hf:org/clip@main")])})))
    assert record["weights"]["identity"] is None, "other sources are not known to be those weights"


def test_a_licence_is_named_when_the_weights_are_fetched_and_not_again(
    hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    model = small(None, **(FITTING | {"weights": Weights(sources=[Source(url="hf:org/clip")], licence="CC-BY-NC")}))
    with caplog.at_level(logging.WARNING):
        load_weights(model)
        assert caplog.text.count("the licence of these weights is CC-BY-NC") == 1
        load_weights(model)
    assert caplog.text.count("licence") == 1


def test_a_pinned_digest_of_a_repository_is_checked(hub: HubServer) -> None:
    pinned = Weights(sources=[Source(url="hf:org/clip", sha256="0" * 64)])
    with pytest.raises(ZeroshotError, match="has another sha256"):
        load_weights(small(None, **(FITTING | {"weights": pinned})))


def test_the_next_source_is_tried_and_all_reasons_are_named(hub: HubServer) -> None:
    given = Weights(sources=[Source(url="hf:org/nothing"), Source(url="hf:org/clip")])
    load_weights(small(None, **(FITTING | {"weights": given})))
    given = Weights(sources=[Source(url="hf:org/nothing"), Source(url=f"{hub.address}/a.pt", sha256="0" * 64)])
    with pytest.raises(ZeroshotError, match=r"hf:org/nothing: no such repository.*a\.pt: 404"):
        load_weights(small(None, **(FITTING | {"weights": given})))


def test_named_checkpoints_have_the_sizes_of_their_architecture() -> None:
    models = known_models()
    sizes = ("embed_dim", "image_size", "patch_size", "vision_width", "vision_layers", "text_width", "text_layers")
    by_suffix = {name.partition("_vit_")[2]: models[name] for name in models if name.startswith("clip_vit_")}
    for name, model in models.items():
        base = by_suffix.get(name.partition("_vit_")[2])
        if base is not None and model.family is Family.clip:
            assert [getattr(model, size) for size in sizes] == [getattr(base, size) for size in sizes], name
    assert len(models) == 32
    assert models["laion2b_vit_l_14"].mean == HALF
    assert models["laion400m_vit_b_32"].activation is Activation.quick_gelu
    assert models["laion400m_vit_b_16"].activation is Activation.gelu
