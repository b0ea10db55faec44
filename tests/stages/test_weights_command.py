"""Weights through the command line: broken files end in one line, conversion and download leave what they say."""

import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.drawn import SMALL, draw
from tests.models.checkpoints.broken_files import BROKEN, MARKER, Broken
from zeroshot.models.checkpoints import load as checkpoint_load
from zeroshot.models.checkpoints import save as checkpoint_save
from zeroshot.models.checkpoints.identity import tensor_digest
from zeroshot.models.checkpoints.settings import Settings

# of the files that are cut or flipped at twenty places, a few: tests/models/test_weights.py reads them all
TRIED = [broken for broken in BROKEN if "/20" not in broken.name or re.search(r" (3|12)/20", broken.name)]


@pytest.mark.parametrize("broken", TRIED, ids=str)
def test_a_broken_file_ends_with_status_1_and_one_line_that_names_it(
    broken: Broken, small: Command, tmp_path: Path
) -> None:
    if broken.by_mode and os.geteuid() == 0:
        pytest.skip("root reads a file whatever its mode")
    (tmp_path / "given").mkdir()
    path = broken.write(tmp_path / "given")
    before = sorted(tmp_path.rglob("*"))
    done = small("model=small", f"model.weights.path={path}", "hydra.run.dir=out")
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert str(path if path.suffix else tmp_path) in done.stderr
    made = set(tmp_path.rglob("*")) - set(before)
    assert {path.relative_to(tmp_path).parts[0] for path in made} == {"out", "outputs"}
    assert {path.name for path in (tmp_path / "outputs").iterdir()} <= {"index.csv", ".index.lock"}
    assert not any(path.name == MARKER for path in made)


def test_conversion_in_a_circle_keeps_the_bits(small: Command, tmp_path: Path, small_weights: Path) -> None:
    first = small("model=small", "stage=convert", "stage.output=a.safetensors")
    assert first.returncode == 0, first.stderr
    second = small("model=small", "stage=convert", "model.weights.path=a.safetensors", "stage.output=b.safetensors")
    assert second.returncode == 0, second.stderr
    for name in ("a", "b"):
        tensors = checkpoint_load.load(tmp_path / f"{name}.safetensors", SMALL).tensors
        assert {key: value.tobytes() for key, value in tensors.items()} == {
            key: value.tobytes() for key, value in draw(SMALL).items()
        }
    assert f'"{tensor_digest(draw(SMALL))}": "small"' in first.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "b.safetensors"}  # and no run folder
    again = small("model=small", "stage=convert", "stage.output=a.safetensors")
    assert again.returncode == 1
    assert "a.safetensors exists" in again.stderr


def test_conversion_to_half_precision_halves_the_file(small: Command, tmp_path: Path, small_weights: Path) -> None:
    done = small("model=small", "stage=convert", "stage.output=half.safetensors", "stage.dtype=float16")
    assert done.returncode == 0, done.stderr
    half = tmp_path / "half.safetensors"
    assert half.stat().st_size < 0.51 * small_weights.stat().st_size
    assert tensor_digest(checkpoint_load.load(half, SMALL).tensors) == tensor_digest(draw(SMALL))


@pytest.fixture
def served(tmp_path: Path, small_weights: Path) -> Iterator[tuple[str, list[str]]]:
    """A local server that has the small weights, and the paths that it was requests for."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copy(small_weights, folder / "small.safetensors")
    requests: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            requests.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()


def test_weights_are_downloaded_once_and_then_used_without_a_network(
    small: Command, served: tuple[str, list[str]], tmp_path: Path, small_weights: Path
) -> None:
    address, requests = served
    digest = hashlib.sha256(small_weights.read_bytes()).hexdigest()
    urls = [f"{address}/nowhere/small.safetensors", f"{address}/small.safetensors"]
    sources = "model.weights.sources=[" + ",".join(f"{{url:'{url}',sha256:{digest}}}" for url in urls) + "]"
    given = (
        "stage=download",
        "model=small",
        "model.weights.path=null",
        sources,
    )
    first = small(*given)
    assert first.returncode == 0, first.stderr
    target = tmp_path / "home" / "weights" / "small" / "small.safetensors"
    assert str(target) in first.stdout
    assert list(dict.fromkeys(requests)) == ["/nowhere/small.safetensors", "/small.safetensors"]
    requests.clear()
    second = small(*given)
    assert second.returncode == 0
    assert requests == []


def test_an_altered_download_is_not_used_and_the_line_says_what_to_do(
    small: Command, served: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, _ = served
    done = small(
        "model=small",
        "model.weights.path=null",
        f"model.weights.sources=[{{url:'{address}/small.safetensors',sha256:'{'0' * 64}'}}]",
        "hydra.run.dir=out",
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for expected in (
        "another sha256",
        str(tmp_path / "home" / "weights" / "small"),
        "model.weights.path",
        "experiment=quickstart",
    ):
        assert expected in done.stderr
    assert not (tmp_path / "home" / "weights" / "small" / "small.safetensors").exists()


def test_without_weights_and_without_a_network_the_line_says_what_to_do(small: Command, tmp_path: Path) -> None:
    done = small(
        "model=small",
        "model.weights.path=null",
        f"model.weights.sources=[{{url:'http://127.0.0.1:9/small.safetensors',sha256:'{'0' * 64}'}}]",
        "hydra.run.dir=out",
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for expected in ("it can't be reached", "small.safetensors", "model.weights.path", "experiment=quickstart"):
        assert expected in done.stderr


def test_without_the_data_set_the_line_says_what_to_do(small: Command, tmp_path: Path) -> None:
    done = small(
        "model=small",
        f"dataset.root={tmp_path / 'home' / 'data' / 'cifar-100-python'}",
        f"dataset.sources=[{{url:'http://127.0.0.1:9/cifar-100-python.tar.gz',sha256:'{'0' * 64}'}}]",
        "hydra.run.dir=out",
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for expected in ("cifar-100-python", "it can't be reached", "dataset.root", "experiment=quickstart"):
        assert expected in done.stderr


def test_a_model_trained_with_gelu_is_not_scored_with_quick_gelu(
    small: Command, tmp_path: Path, small_weights: Path
) -> None:
    path = tmp_path / "gelu.safetensors"
    checkpoint_save.save(draw(SMALL), path, settings=Settings("gelu"))
    done = small("model=small", f"model.weights.path={path}", "hydra.run.dir=out")
    assert done.returncode == 1
    assert "type model.activation=gelu" in done.stderr
    done = small("model=small", f"model.weights.path={path}", "model.activation=gelu", "hydra.run.dir=out2")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("given", ["model.weights.path=nowhere.pt", "dataset.root=nowhere"])
def test_a_download_does_not_claim_what_is_not_there(given: str, zeroshot: Command) -> None:
    done = zeroshot("stage=download", "model=clip_tiny", given)
    assert done.returncode == 1
    assert "nowhere" in done.stderr
