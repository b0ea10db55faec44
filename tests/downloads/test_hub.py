"""Repositories by name, through the real clients and a real HTTP server that plays the hubs."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.downloads.hub_server import COMMIT, HubServer, only_hub
from zeroshot.downloads.hub import fetch_repository, is_hub_name, is_present
from zeroshot.errors import ZeroshotError

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
CONFIGS = ("config.json", "preprocessor_config.json")
FILES = {
    "README.md": b"a CLIP",
    "config.json": b"{}",
    "model.safetensors": b"safe" * 1000,
    "pytorch_model.bin": b"torch" * 1000,
    "flax_model.msgpack": b"flax",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A running hub, an empty cache, and no token."""
    with only_hub(dict(FILES), tmp_path, monkeypatch) as running:
        yield running


def get(name: str, folder: Path) -> Path:
    fetch_repository.cache_clear()
    return fetch_repository(name, WEIGHTS, CONFIGS, folder)


@pytest.mark.parametrize("hub_name", ["hf", "ms"])
def test_a_repository_gives_its_weights_and_configs_and_nothing_else(
    hub_name: str, hub: HubServer, tmp_path: Path
) -> None:
    assert not is_present(f"{hub_name}:org/clip", WEIGHTS, tmp_path / "home")
    folder = get(f"{hub_name}:org/clip", tmp_path / "home")
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        "config.json",
        "model.safetensors",
    }
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert is_present(f"{hub_name}:org/clip", WEIGHTS, tmp_path / "home")


@pytest.mark.parametrize("hub_name", ["hf", "ms"])
def test_shards_are_followed_by_their_index(hub_name: str, hub: HubServer, tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}
    hub.files = {"model.safetensors.index.json": json.dumps(index).encode(), "model-1.safetensors": b"one"}
    with pytest.raises(ZeroshotError, match=r"lacks model-2\.safetensors"):
        get(f"{hub_name}:org/clip", tmp_path / "home")
    hub.files["model-2.safetensors"] = b"two"
    folder = get(f"{hub_name}:org/clip", tmp_path / "home")
    assert (folder / "model-1.safetensors").read_bytes() == b"one"
    assert (folder / "model-2.safetensors").read_bytes() == b"two"


@pytest.mark.parametrize("hub_name", ["hf", "ms"])
def test_without_a_network_the_files_that_are_there_are_used(
    hub_name: str, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = get(f"{hub_name}:org/clip", tmp_path / "home")
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        assert get(f"{hub_name}:org/clip", tmp_path / "home") == folder
    assert "can't be reached; " in caplog.text
    with pytest.raises(ZeroshotError, match=r"model\.weights\.path=FOLDER"):
        get(f"{hub_name}:org/other", tmp_path / "home")


def test_a_commit_that_is_in_the_cache_asks_no_network(hub: HubServer, tmp_path: Path) -> None:
    folder = get(f"hf:org/clip@{COMMIT}", tmp_path)
    hub.asked.clear()
    assert get(f"hf:org/clip@{COMMIT}", tmp_path) == folder
    assert hub.asked == []


def test_the_token_is_sent_to_the_hub_and_not_to_the_host_of_the_content(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated = True
    with pytest.raises(ZeroshotError, match="needs a token: accept its terms on its page and set HF_TOKEN"):
        get("hf:org/clip", tmp_path)
    monkeypatch.setenv("HF_TOKEN", "secret")
    get("hf:org/clip", tmp_path)
    tokens = {(host, token) for host, path, token in hub.asked if token or path.startswith("/content")}
    assert tokens == {("127.0.0.1", "Bearer secret"), ("localhost", None)}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hf:org/nothing", "no such repository, or it is private"),
        ("hf:org/clip@v9", "no revision v9"),
        ("ms:org/nothing", "404"),
        ("hf:clip", "type hf:ORG/NAME"),
        ("hf:org/clip/file", "type hf:ORG/NAME"),
        ("ms:../..@x y", "type hf:ORG/NAME"),
    ],
)
def test_a_name_that_cannot_be_had_is_one_line(name: str, reason: str, hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(ZeroshotError, match=reason):
        get(name, tmp_path)


@pytest.mark.parametrize("hub_name", ["hf", "ms"])
def test_other_bytes_than_the_hub_states_are_refused_and_not_kept(
    hub_name: str, hub: HubServer, tmp_path: Path
) -> None:
    hub.stated = {"model.safetensors": "0" * 64}
    with pytest.raises(ZeroshotError, match="another sha256"):
        get(f"{hub_name}:org/clip", tmp_path / "home")
    hub.stated = {}
    assert get(f"{hub_name}:org/clip", tmp_path / "home").is_dir()


def test_a_repository_without_weights_says_what_was_looked_for(hub: HubServer, tmp_path: Path) -> None:
    hub.files = {"README.md": b"", "flax_model.msgpack": b""}
    with pytest.raises(ZeroshotError, match=r"has none of model\.safetensors, "):
        get("hf:org/clip", tmp_path)


def test_paths_are_not_names_of_repositories() -> None:
    assert is_hub_name("hf:org/clip")
    assert not any(map(is_hub_name, ("model.pt", "c:/model.pt", "package:models/a", "hf/org", "https://hf.co/a")))
