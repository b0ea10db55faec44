"""Data sets from their config: downloads go into `ZEROSHOT_HOME` alone, and groups of classes."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from zeroshot.config.schema import Cifar, Labels, Shapes, Source
from zeroshot.errors import ZeroshotError
from zeroshot.stages.dataset import class_groups, load_dataset


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "home"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def archive(tmp_path: Path, cifar: Path) -> Iterator[Source]:
    """A CIFAR-100 archive on a local server."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(cifar, arcname="cifar-100-python")
    served = tmp_path / "served"
    served.mkdir()
    (served / "cifar-100-python.tar.gz").write_bytes(packed.getvalue())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/cifar-100-python.tar.gz"
    yield Source(url, hashlib.sha256(packed.getvalue()).hexdigest())
    server.shutdown()


def cifar100(root: Path, *sources: Source) -> Cifar:
    return Cifar(name="cifar100", root=str(root), sources=list(sources))


def test_a_data_set_in_home_is_downloaded_from_the_first_source_that_has_it(home: Path, archive: Source) -> None:
    root = home / "data" / "cifar-100-python"
    dead = Source("http://127.0.0.1:9/cifar-100-python.tar.gz", archive.sha256)
    images = load_dataset(cifar100(root, dead, archive))
    assert len(images) == 12
    again = load_dataset(cifar100(root, dead))
    assert again.fingerprint == images.fingerprint  # what is there needs no network


def test_a_folder_of_the_users_own_is_never_downloaded_into(home: Path, archive: Source, tmp_path: Path) -> None:
    with pytest.raises(ZeroshotError, match=r"dataset\.root"):
        load_dataset(cifar100(tmp_path / "mine", archive))
    assert not (tmp_path / "mine").exists()
    assert not home.exists()


def test_seen_and_unseen_pairs_are_groups_of_the_shapes_alone() -> None:
    images = load_dataset(Shapes(name="shapes", size=100))
    groups = class_groups(Shapes(name="shapes"), images)
    assert [len(ids) for ids in groups.values()] == [80, 20]
    assert sorted(groups["seen pairs"] + groups["unseen pairs"]) == list(range(100))
    coarse = Shapes(name="shapes", size=100, labels=Labels.coarse)
    assert class_groups(coarse, load_dataset(coarse)) == {}
    assert class_groups(Cifar(name="cifar100", root="x"), images) == {}
