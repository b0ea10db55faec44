"""Several devices at once: workers that Ray places, watches and restarts encode blocks of images.

One process leads: it asks workers for the features of blocks and gets them back in order. Each worker builds an encoder
of its own; a worker that dies is started again by Ray and its blocks are encoded anew.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zeroshot.errors import ZeroshotError
from zeroshot.interrupts import unblocked
from zeroshot.models.feature_batch import FeatureBatch

if TYPE_CHECKING:
    from zeroshot.models.encoder import Encoder

BATCHES_PER_BLOCK = 4
CONNECT_SECONDS = 10.0
BLOCKS_AHEAD = 2  # per worker: one is encoded while the next is on its way
RESTARTS = 2  # of a worker, and of a block
RESOURCES = {"Ascend": "NPU", "GPU": "GPU"}  # what Ray calls them

log = logging.getLogger(__name__)

Build = Callable[[], "Encoder"]


class EncoderPool:
    """Encodes images with the encoders of several workers, with the interface of one encoder.

    Args:
        build: builds an encoder in a worker's process; picklable.
        leader: the encoder of this process, which reads images where only that is needed.
        target: "CPU", "Ascend" or "GPU"; of the latter each worker gets a device of its own.
        count: how many workers, or "all": one for each device, or each host, of the cluster.
        cluster: None is a cluster of this machine alone; "auto" or an address is a running Ray cluster.

    Raises:
        ZeroshotError: Ray is not installed, the cluster can't be reached or has fewer devices, or an encoder can't be
            built.
    """

    def __init__(self, build: Build, leader: "Encoder", target: str, count: int | str, cluster: str | None) -> None:
        self.batch_size = leader.batch_size
        self._leader = leader
        self._ray = _connect(cluster)
        resource = RESOURCES.get(target)
        available = self._available(resource)
        if count == "all":
            count = available
        if not isinstance(count, int) or (resource is not None and count > available):
            raise ZeroshotError(f"device.count={count}: the Ray cluster has {available} of {target}")
        self.count = count
        options: dict[str, Any] = {"max_restarts": RESTARTS, "max_task_retries": RESTARTS, "num_cpus": 0}
        if resource == "GPU":
            options["num_gpus"] = 1
        elif resource is not None:
            options["resources"] = {resource: 1}
        cores = sorted(os.sched_getaffinity(0)) if target == "CPU" and cluster is None else []
        worker = self._ray.remote(**options)(_Worker)
        shares = [cores[number :: self.count] or cores for number in range(self.count)]
        self._workers = [worker.remote(build, share) for share in shares]
        self._get([each.ready.remote() for each in self._workers])

    def feature_batches(self, images: Iterable[Any]) -> Iterator[FeatureBatch]:
        """As `Encoder.feature_batches`, in blocks on all workers; the images are in the same batches and slots."""
        source, start, number = iter(images), 0, 0
        waiting: deque[tuple[int, Any]] = deque()
        while True:
            while len(waiting) < BLOCKS_AHEAD * self.count:
                block = list(islice(source, BATCHES_PER_BLOCK * self.batch_size))
                if not block:
                    break
                waiting.append((start, self._workers[number % self.count].encode.remote(block)))
                start, number = start + len(block), number + 1
            if not waiting:
                return
            offset, result = waiting.popleft()
            for batch in self._get(result):
                errors = {offset + place: error for place, error in batch.errors.items()}
                yield FeatureBatch(batch.places + offset, batch.features, errors)

    def read(self, images: Iterable[Any]) -> Iterator[NDArray[np.uint8] | ZeroshotError]:
        """As `Encoder.read`, in this process."""
        return self._leader.read(images)

    def close(self) -> None:
        """Ends the workers; Ray itself stays for the next run of this process."""
        for worker in self._workers:
            self._ray.kill(worker)

    def _get(self, result: Any) -> Any:
        try:
            return self._ray.get(result)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, ZeroshotError):
                raise cause from error
            reason = str(error).strip().splitlines()[-1]
            raise ZeroshotError(
                f"a worker failed {RESTARTS + 1} times ({reason}): start again, encoded images are kept"
            ) from error

    def _available(self, resource: str | None) -> int:
        if resource is not None:
            return int(self._ray.cluster_resources().get(resource, 0))
        return sum(node["Alive"] for node in self._ray.nodes())


class _Worker:
    """One process with an encoder; the cores it may use, where it shares a machine's."""

    def __init__(self, build: Build, cores: Sequence[int]) -> None:
        if cores:
            os.sched_setaffinity(0, cores)  # before MindSpore starts its threads
        self._encoder = build()

    def ready(self) -> None:
        """Returns once the encoder is built."""

    def encode(self, images: Sequence[Any]) -> list[FeatureBatch]:
        """The features of a block, a batch at a time."""
        return list(self._encoder.feature_batches(images))


def _check_address(cluster: str | None) -> None:
    """Refuses an address where nobody listens: Ray itself would try for minutes.

    Raises:
        ZeroshotError: there is no connection.
    """
    host, _, port = (cluster or "").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ZeroshotError(f"device.cluster={cluster}: no Ray cluster there ({error.strerror or error})") from error


def _connect(cluster: str | None) -> Any:
    """Ray, connected to a cluster once a process."""
    try:
        import ray
    except ImportError as error:
        raise ZeroshotError("device.count needs Ray: pip install 'zeroshot-mindspore[ray]'") from error
    if not ray.is_initialized():
        log.info("starting Ray" if cluster is None else f"connecting to the Ray cluster at {cluster}")
        _check_address(cluster)
        with unblocked():  # Ray's processes end by the signals that this process holds back
            try:
                ray.init(address=cluster, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                reason = " ".join(str(error).split())
                raise ZeroshotError(f"device.cluster={cluster}: no Ray cluster there ({reason})") from error
    return ray
