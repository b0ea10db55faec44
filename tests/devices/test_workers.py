"""Workers that die, hang, fail, differ, leave and join: what a pool makes of them. Ray is real, the network is not."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.devices.pixel_encoder import FACTS, PixelEncoder, build
from zeroshot.devices import placement, pool
from zeroshot.devices.cluster import connect
from zeroshot.devices.pool import EncoderPool
from zeroshot.devices.worker import Facts
from zeroshot.errors import ZeroshotError

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="pip install 'zeroshot-mindspore[ray]'"),
]

PIXELS = np.random.default_rng(0).integers(100, 256, (103, 8, 8, 3), np.uint8)
BLOCK = pool.BATCHES_PER_BLOCK * PixelEncoder.batch_size

MakePool = Callable[..., EncoderPool]


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[Any]:
    """Ray as this package starts it, which must be before anyone else imports it."""
    module = connect(None, 1)
    yield module
    module.shutdown()


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    """An `EncoderPool` of `PixelEncoder`s, two unless said otherwise, which are ended afterwards."""
    made: list[EncoderPool] = []

    def make(
        build: Any = build, count: int | str = 2, target: str = "CPU", cluster: str | None = None, facts: Facts = FACTS
    ) -> EncoderPool:
        leader: Any = PixelEncoder()
        made.append(EncoderPool(build, leader, facts, target, count, cluster))
        return made[-1]

    yield make
    for each in made:
        each.close()


def with_values(**harm_at: int) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The images, of which those at some places do the harm that is named."""
    pixels, harm = PIXELS.copy(), {}
    for value, (name, place) in enumerate(harm_at.items(), start=1):
        pixels[place].flat[0] = value
        harm[value] = name
    return pixels, harm


def means(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.mean(axis=(1, 2), dtype=np.float32)


def test_images_and_texts_come_back_in_order_at_every_number_of_workers(make_pool: MakePool) -> None:
    for count in (1, 2, 4):
        encoder = make_pool(count=count)
        assert np.array_equal(encoder.encode_image(PIXELS), means(PIXELS))
        assert encoder.encode_image(PIXELS[:2]).shape == (2, 3)
        assert encoder.encode_image([]).shape == (0, 3)
        blocks = [["a" * length] * 3 for length in range(9)]
        found = [features[:, 0].tolist() for features in encoder.encode_text_blocks(blocks)]
        assert found == [[length] * 3 for length in range(9)]
        assert encoder.encode_text(["four"]).tolist() == [[4, 4, 4]]


@pytest.mark.parametrize("harm", ["kill", "fail", "stop"])
def test_the_block_of_a_worker_that_failed_once_goes_to_another(
    harm: str,
    make_pool: MakePool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "SHORTEST_LIMIT", 2.0)
    pixels, harms = with_values(**{harm: 30})
    encoder = make_pool(partial(build, harms, tmp_path))
    assert np.array_equal(encoder.encode_image(pixels), means(pixels))
    reason = {"kill": "its process ended", "fail": "RuntimeError: the device is broken", "stop": "no answer in 2 s"}
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    [warning] = [each for each in warnings if not each.startswith("A worker died")]  # Ray's own
    assert warning.startswith("the worker on ")
    assert reason[harm] in warning


def test_a_block_that_fails_on_three_workers_ends_the_run_and_names_its_images(
    make_pool: MakePool, tmp_path: Path
) -> None:
    pixels, harms = with_values(kill=40)
    encoder = make_pool(partial(build, harms))
    first, last = 40 // BLOCK * BLOCK, 40 // BLOCK * BLOCK + BLOCK - 1
    with pytest.raises(ZeroshotError, match=f"the images {first} to {last} failed on 3 workers"):
        encoder.encode_image(pixels)
    assert np.array_equal(encoder.encode_image(PIXELS[:5]), means(PIXELS[:5]))  # the pool is still of use
    files = save(pixels[:BLOCK], tmp_path)
    with pytest.raises(ZeroshotError, match=r"the images from .*00.png to .*15.png failed on 3 workers"):
        encoder.encode_image([*files[:3], with_values(kill=0)[0][0], *files[4:]])


def test_an_error_that_a_person_can_correct_is_raised_at_once(make_pool: MakePool) -> None:
    pixels, harms = with_values(refuse=0)
    with pytest.raises(ZeroshotError, match=r"features that are not finite \(a worker on "):
        make_pool(partial(build, harms)).encode_image(pixels)


def test_an_encoder_that_can_not_be_built_is_an_error(make_pool: MakePool) -> None:
    with pytest.raises(ZeroshotError, match=r"no worker is left.*TypeError"):
        make_pool(partial(build, wrong=1))  # type: ignore[call-arg]


def test_a_worker_with_other_versions_or_weights_is_not_used(make_pool: MakePool) -> None:
    theirs = {**FACTS, "versions": {"pillow": "2"}, "weights": "bb"}
    with pytest.raises(ZeroshotError, match="is not used: pillow 2 there, 1 here, other weights"):
        make_pool(partial(build, facts=theirs))


def test_features_of_another_kind_of_processor_are_marked(make_pool: MakePool) -> None:
    encoder = make_pool(partial(build, facts={**FACTS, "processor": "other"}))
    assert not any(batch.reproducible for batch in encoder.feature_batches(PIXELS))
    assert all(batch.reproducible for batch in make_pool().feature_batches(PIXELS))
    assert encoder.processors


def test_images_that_can_not_be_read_and_open_files_are_as_with_one_encoder(
    make_pool: MakePool, tmp_path: Path
) -> None:
    files = save(PIXELS[:6], tmp_path)
    (tmp_path / "01.png").write_text("not an image")
    with open(files[2], "rb") as opened:
        images = [files[0], files[1], opened, files[3].read_bytes(), PIXELS[4], Image.open(files[5])]
        [batch, rest] = make_pool().feature_batches(images)
    assert batch.places.tolist() == [0, 2, 3]
    assert "01.png: is not an image" in str(batch.errors[1])
    assert np.array_equal(np.concatenate([batch.features, rest.features]), means(PIXELS[[0, 2, 3, 4, 5]]))


def save(pixels: NDArray[np.uint8], folder: Path) -> list[Path]:
    files = [folder / f"{place:02}.png" for place in range(len(pixels))]
    for image, path in zip(pixels, files, strict=True):
        Image.fromarray(image).save(path)
    return files


@pytest.fixture
def hosts(ray: Any) -> Iterator[Any]:
    """Ray nodes on this machine, as so many hosts: one, and those that a test adds."""
    from ray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_hosts_that_join_and_leave_are_used_and_done_without(
    hosts: Any, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(placement, "JOIN_SECONDS", 0.2)
    hosts.add_node(num_cpus=1)
    encoder = make_pool(count="all", cluster=hosts.address)
    assert encoder.count == 2
    assert np.array_equal(encoder.encode_image(PIXELS), means(PIXELS))
    third = hosts.add_node(num_cpus=1)
    encode_until(lambda: encoder.count == 3 and all(place.started for place in encoder._placement.places), encoder)
    hosts.remove_node(third)
    encode_until(lambda: encoder.count == 2, encoder)
    assert "is gone" in caplog.text


def encode_until(condition: Callable[[], bool], encoder: EncoderPool) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        assert np.array_equal(encoder.encode_image(PIXELS), means(PIXELS))


def test_another_host_opens_the_files_that_it_sees_and_gets_the_bytes_of_others(
    hosts: Any, make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts.add_node(num_cpus=1, resources={"NPU": 1})
    encoder = make_pool(count=1, target="Ascend", cluster=hosts.address)
    [place] = encoder._placement.places
    monkeypatch.chdir(tmp_path)
    files = [path.relative_to(tmp_path) for path in save(PIXELS[:20], tmp_path)]
    assert np.array_equal(encoder.encode_image(files), means(PIXELS[:20]))
    assert not place.as_bytes
    with open(files[0], "rb") as opened:
        only_here = f"/proc/self/fd/{opened.fileno()}"
        assert np.array_equal(encoder.encode_image([only_here, *files]), means(PIXELS[[0, *range(20)]]))
    assert place.as_bytes
    [batch] = encoder.feature_batches(["absent.png"])
    assert str(batch.errors[0]).startswith("absent.png: there is no such file")


def test_devices_are_counted_over_all_hosts(hosts: Any, make_pool: MakePool) -> None:
    hosts.add_node(num_cpus=1, resources={"NPU": 2})
    hosts.add_node(num_cpus=1, resources={"NPU": 1})
    assert make_pool(count="all", target="Ascend", cluster=hosts.address).count == 3
    with pytest.raises(ZeroshotError, match=r"device.count=4: Ray knows 3 devices of the kind NPU"):
        make_pool(count=4, target="Ascend", cluster=hosts.address)


def test_a_ray_that_was_started_here_listens_on_loopback_alone_and_asks_for_a_token(
    ray: Any, make_pool: MakePool
) -> None:
    ray.shutdown()
    make_pool(count=1)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    listening = sockets_of(descendants(os.getpid()))
    assert len(listening) >= 3
    assert all(is_loopback(address) for address in listening), listening


def descendants(parent: int) -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, new = {parent}, {parent}
    while new:
        new = {pid for pid, above in parents.items() if above in new}
        found |= new
    return found


def sockets_of(pids: set[int]) -> list[str]:
    """The addresses, in hexadecimal, at which processes listen for TCP."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(os.readlink(link))
            except OSError:
                continue
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return [line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes]


def is_loopback(address: str) -> bool:
    return address.endswith("0100007F") or address == "00000000000000000000000001000000"
