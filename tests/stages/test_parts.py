"""Parts from a config: downloads only where they belong, groups of classes, words that a model never met."""

import hashlib
import io
import logging
import tarfile
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from tests.drawn import SMALL, draw
from zeroshot.config.named import known_models
from zeroshot.config.schema import Cifar, Device, Labels, Model, Shapes, Target, Weights
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.checkpoint import Checkpoint
from zeroshot.models.tokenizer import Tokenizer
from zeroshot.stages import parts


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSHOT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def archive(tmp_path: Path, cifar: Path) -> Iterator[tuple[str, str]]:
    """The address and the digest of a CIFAR-100 archive on a local server."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(cifar, arcname="cifar-100-python")
    served = tmp_path / "served"
    served.mkdir()
    (served / "cifar-100-python.tar.gz").write_bytes(packed.getvalue())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/cifar-100-python.tar.gz"
    yield address, hashlib.sha256(packed.getvalue()).hexdigest()
    server.shutdown()


def test_the_data_set_of_our_own_home_is_downloaded_and_unpacked(home: Path, archive: tuple[str, str]) -> None:
    root = home / "data" / "cifar-100-python"
    data = parts.load_data(Cifar(name="cifar100", root=str(root), url=archive[0], sha256=archive[1]))
    assert len(data) == 12
    assert {path.name for path in root.iterdir()} == {"meta", "test", "train"} & {path.name for path in root.iterdir()}
    again = parts.load_data(Cifar(name="cifar100", root=str(root), url="http://127.0.0.1:9/x.tar.gz", sha256="0" * 64))
    assert again.fingerprint == data.fingerprint  # what is there needs no network


def test_a_folder_of_the_user_s_own_is_never_filled(home: Path, archive: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ZeroshotError, match=r"dataset\.root"):
        parts.load_data(Cifar(name="cifar100", root=str(tmp_path / "mine"), url=archive[0], sha256=archive[1]))
    assert not (tmp_path / "mine").exists()
    assert not home.exists()


def test_seen_and_unseen_pairs_are_groups_of_the_shapes_alone() -> None:
    data = parts.load_data(Shapes(name="shapes", size=100))
    groups = parts.class_groups(Shapes(name="shapes"), data)
    assert [len(ids) for ids in groups.values()] == [80, 20]
    assert sorted(groups["seen pairs"] + groups["unseen pairs"]) == list(range(100))
    coarse = Shapes(name="shapes", size=100, labels=Labels.coarse)
    assert parts.class_groups(coarse, parts.load_data(coarse)) == {}
    assert parts.class_groups(Cifar(name="cifar100", root="x"), data) == {}


def test_words_that_the_weights_never_met_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    known = sorted(set(Tokenizer().encode("a photo of a red circle .")))
    checkpoint = Checkpoint(Path("x"), "openai-safetensors", draw(SMALL), None, np.array(known))
    model = Model(name="mine")
    with caplog.at_level(logging.WARNING):
        parts.warn_of_untrained_words(model, checkpoint, ["a photo of a red circle.", "a red circle"])
        assert caplog.messages == []
        parts.warn_of_untrained_words(model, checkpoint, ["a red dog", "a photo of a dog", "a cat"])
    assert caplog.messages == ["mine was not trained on these words and knows nothing of them: dog, cat"]


def test_a_model_without_any_address_says_how_to_give_one() -> None:
    with pytest.raises(ZeroshotError, match=r"model=mine has no weights: set model\.weights\.path.*quickstart"):
        parts.weights_path(Model(name="mine", weights=Weights()))


def test_a_file_of_the_package_that_is_altered_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(ZeroshotError, match=r"is altered .*install zeroshot-mindspore anew"):
        parts.weights_path(Model(name="mine", weights=Weights(url="package:published.yaml", sha256="0" * 64)))
    with pytest.raises(ZeroshotError, match="is missing from this installation"):
        parts.weights_path(Model(name="mine", weights=Weights(url="package:nowhere", sha256="0" * 64)))


def test_openai_s_digests_stand_in_the_addresses_too() -> None:
    for name, model in known_models().items():
        if name != "clip_tiny":
            assert str(model.weights.url).startswith(parts.OPENAI)
            assert model.weights.sha256 in str(model.weights.url).split("/")


def test_a_sweep_s_jobs_share_a_model_until_its_files_change(
    small_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(small_weights.read_bytes())
    model = Model(name="own", **vars(SMALL), weights=Weights(path=str(path)))
    device = Device(target=Target.CPU)
    monkeypatch.setattr(parts, "_ready", {})
    first = parts.ready(model, device)
    assert parts.ready(replace(model), replace(device)) is first
    assert parts.ready(model, replace(device, batch_size=3)).encoder.batch_size == 3
    assert parts.ready(model, device) is not first  # one alone is held
    second = parts.ready(model, device)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    third = parts.ready(model, device)
    assert third.model["weights"]["sha256"] != second.model["weights"]["sha256"]
    keys = [parts.feature_store(model, each).folder for each in (first, second, third)]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.skipif(metadata.version("mindspore").startswith("2.7"), reason="2.7 keeps all that it compiled")
def test_a_second_model_frees_the_first(small_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(name="own", **vars(SMALL), weights=Weights(path=str(small_weights)))
    device = Device(target=Target.CPU)
    monkeypatch.setattr(parts, "_ready", {})
    encoder = parts.ready(model, device).encoder
    encoder.encode_text(["a"])
    held = weakref.ref(encoder._text_tower.__self__.token_embedding)  # type: ignore[attr-defined]
    del encoder
    assert held() is not None
    parts.ready(model, replace(device, batch_size=3))
    assert held() is None
