"""A worker: one process of Ray's with an encoder of its own."""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zeroshot.devices.transfer import unpacked
from zeroshot.models.feature_batch import FeatureBatch

if TYPE_CHECKING:
    from zeroshot.models.encoder import Encoder

Facts = Mapping[str, Any]  # all that features depend on but the images; equal facts mean equal bits
Build = Callable[[], tuple["Encoder", Facts]]


@dataclass(frozen=True)
class Share:
    """Which part of a host's cores a worker uses: number `index` of `count`."""

    index: int
    count: int


@dataclass(frozen=True)
class Started:
    """What a worker that is ready says of itself; `seconds` is what its first batch took, compilation included."""

    host: str
    node: str
    processor: str
    facts: Facts
    seconds: float


@dataclass(frozen=True)
class Encoded:
    """The batches of a block of images; None where the worker does not see the same files as the leader."""

    batches: list[FeatureBatch] | None


class Worker:
    """Encodes blocks of images and texts, one after the other."""

    def start(self, build: Build, share: Share | None, folder: str) -> Started:
        """Builds the encoder and encodes a blank batch, so that everything is compiled.

        Args:
            build: builds the encoder and says on what its features depend.
            share: the cores to use; None leaves the choice to the system.
            folder: the current folder of the leader, to which relative paths refer.
        """
        import ray

        with suppress(OSError):  # another host may lack it: images are then sent whole
            os.chdir(folder)
        if share is not None and hasattr(os, "sched_setaffinity"):
            available = sorted(os.sched_getaffinity(0))
            cores = available[share.index :: share.count] or available
            os.sched_setaffinity(0, cores)  # before MindSpore starts its threads
            os.environ["OMP_NUM_THREADS"] = str(len(cores))  # Ray says 1
        self._encoder, facts = build()
        started = time.monotonic()
        side = self._encoder.architecture.image_size
        self._encoder.encode_pixels(np.zeros((self._encoder.batch_size, side, side, 3), np.uint8))
        seconds = time.monotonic() - started
        node = ray.get_runtime_context().get_node_id()
        return Started(socket.gethostname(), node, processor_name(), facts, seconds)

    def encode_images(self, block: Sequence[Any], batch_size: int | None) -> Encoded:
        """The features of a block of images, as `packed` sends them."""
        images = unpacked(block)
        return Encoded(None if images is None else list(self._encoder.feature_batches(images, batch_size)))

    def encode_texts(self, block: Sequence[str]) -> NDArray[np.float32]:
        """The features of texts [N, embed_dim]."""
        return self._encoder.encode_text(block)


def processor_name() -> str:
    """What people call this host's processor."""
    import platform

    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
