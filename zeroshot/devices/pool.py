"""Several devices at once: this process leads and asks workers for the features of blocks of images and texts.

Ray places the workers, starts them and notices when one ends. Blocks go to whichever worker is free and come back in
order. The block of a worker that ends, raises or takes far too long goes to another one, and a new worker takes its
place.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zeroshot.devices.cluster import connect
from zeroshot.devices.placement import Place, Placement
from zeroshot.devices.transfer import packed
from zeroshot.devices.worker import Build, Encoded, Facts
from zeroshot.errors import ZeroshotError
from zeroshot.models.feature_batch import FeatureBatch, concatenated

if TYPE_CHECKING:
    from zeroshot.models.encoder import Encoder

BATCHES_PER_BLOCK = 4
QUEUED = 2  # blocks of a worker: one is encoded while the next is on its way
FINISHED = 16  # blocks per worker that may wait for an earlier one
FAILURES = 3  # of a block, on as many workers
UNTIMED_LIMIT = 600.0  # seconds to start, or for a block of a kind that was not timed yet
SHORTEST_LIMIT = 60.0  # seconds for a block, however small
LIMIT_FACTOR = 10.0  # times the slowest rate so far
POLL_SECONDS = 1.0
LONGEST_REASON = 300  # characters of a worker's error


@dataclass
class _Block:
    """Consecutive images or texts; `start` is the place of the first among all of its call."""

    number: int
    start: int
    method: str
    items: Sequence[Any]
    batch_size: int | None = None  # of images
    failures: int = 0


@dataclass(frozen=True)
class _Result:
    """What a worker returned for a block, and whether its features have the bits of the leader's."""

    block: _Block
    value: Any
    same_bits: bool


class EncoderPool:
    """The encoders of several workers, with the interface of one, and the same batches.

    Args:
        build: builds an encoder in a worker's process and says on what its features depend; picklable.
        leader: the encoder of this process, which reads images where only that is needed, and encodes nothing.
        facts: on what the leader's features depend; workers that differ in more than their processor are not used.
        target: "CPU", "Ascend" or "GPU"; of the latter two each worker gets a device of its own.
        count: how many workers, or "all": one for each device, or on CPUs for each host, also those that join later.
        cluster: None is this machine alone; "auto" or an address is a running Ray cluster.

    Raises:
        ZeroshotError: Ray is not installed, the cluster can't be reached or has fewer devices, or an encoder can't be
            built.
    """

    def __init__(
        self, build: Build, leader: "Encoder", facts: Facts, target: str, count: int | str, cluster: str | None
    ) -> None:
        self.architecture, self.preprocessing = leader.architecture, leader.preprocessing
        self.batch_size, self.tokenizer = leader.batch_size, leader.tokenizer
        self.logit_scale, self.logit_bias = leader.logit_scale, leader.logit_bias
        self.processors: set[str] = set()  # the kinds that features came from
        self._leader, self._facts = leader, facts
        self._ray = connect(cluster, count if isinstance(count, int) else 1)
        self._placement = Placement(self._ray, build, facts, target, count, count == "all" and cluster is not None)
        self._turn = threading.RLock()
        self._seconds: dict[str, float] = {}  # an item, in the slowest block of each method
        while any(place.started is None for place in self._placement.places):
            list(self._finished(deque()))

    @property
    def count(self) -> int:
        """How many workers there are now."""
        return len(self._placement.places)

    def feature_batches(self, images: Iterable[Any], batch_size: int | None = None) -> Generator[FeatureBatch]:
        """As `Encoder.feature_batches`; the images are in the same batches and slots."""
        with closing(self._results(self._blocks(images, batch_size))) as results:
            for result in results:
                start = result.block.start
                for batch in result.value.batches:
                    errors = {start + place: error for place, error in batch.errors.items()}
                    yield FeatureBatch(batch.places + start, batch.features, errors, result.same_bits)

    def encode_image(self, images: Sequence[Any] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Encoder.encode_image`."""
        return concatenated(self.feature_batches, images, self.architecture.embed_dim)

    def encode_text(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """As `Encoder.encode_text`, by one worker."""
        [features] = self.encode_text_blocks([texts if isinstance(texts, str) else list(texts)])
        return features

    def encode_text_blocks(self, blocks: Iterable[Sequence[str]]) -> Generator[NDArray[np.float32]]:
        """As `Encoder.encode_text_blocks`, spread over the workers."""
        numbered = (_Block(number, 0, "encode_texts", texts) for number, texts in enumerate(blocks))
        with closing(self._results(numbered)) as results:
            for result in results:
                yield result.value

    def read(self, images: Iterable[Any]) -> Iterator[NDArray[np.uint8] | ZeroshotError]:
        """As `Encoder.read`, in this process."""
        return self._leader.read(images)

    def close(self) -> None:
        """Ends the workers; Ray itself stays for the next pool of this process."""
        self._placement.close()

    def _blocks(self, images: Iterable[Any], batch_size: int | None) -> Iterator[_Block]:
        source, start, number = iter(images), 0, 0
        while block := list(islice(source, BATCHES_PER_BLOCK * (batch_size or self.batch_size))):
            yield _Block(number, start, "encode_images", block, batch_size)
            start, number = start + len(block), number + 1

    def _results(self, blocks: Iterator[_Block]) -> Generator[_Result]:
        """The results of all blocks, in order."""
        with self._turn:
            finished: dict[int, _Result] = {}
            again: deque[_Block] = deque()  # blocks of workers that failed
            next_number = taken = 0
            exhausted = False
            try:
                while True:
                    self._placement.add_joined()
                    while (place := self._free_place()) is not None:
                        block = again.popleft() if again else None
                        if block is None and taken < next_number + FINISHED * self.count:
                            block = next(blocks, None)
                            exhausted, taken = block is None, taken + 1
                        if block is None:
                            break
                        self._submit(place, block)
                    if exhausted and not again and not any(place.queue for place in self._placement.places):
                        return
                    finished |= {result.block.number: result for result in self._finished(again)}
                    while next_number in finished:
                        yield finished.pop(next_number)
                        next_number += 1
            finally:
                for place in self._placement.places:
                    place.queue.clear()

    def _free_place(self) -> Place | None:
        """The place with the shortest queue that takes another block."""
        places = self._placement.places
        free = [place for place in places if place.started is not None and len(place.queue) < QUEUED]
        return min(free, key=lambda place: len(place.queue), default=None)

    def _submit(self, place: Place, block: _Block) -> None:
        assert place.started is not None
        if block.method == "encode_images":
            images = packed(block.items, place.started.node == self._placement.here, place.as_bytes)
            result = place.worker.encode_images.remote(images, block.batch_size)
        else:
            result = place.worker.encode_texts.remote(block.items)
        if not place.queue:
            place.since = time.monotonic()
        place.queue.append((block, result))

    def _finished(self, again: deque[_Block]) -> Iterator[_Result]:
        """What has become ready, after a wait; the blocks of workers that failed are put into `again`."""
        waiting = {place.awaited: place for place in self._placement.places if place.awaited is not None}
        ready, _ = self._ray.wait(list(waiting), timeout=POLL_SECONDS)
        for reference in ready:
            place = waiting[reference]
            try:
                value = self._ray.get(reference)
            except self._ray.exceptions.RayError as error:
                self._replace(place, error, again)
                continue
            if place.started is None:
                if self._placement.accept(place, value):
                    self._note_rate("encode_images", value.seconds, self.batch_size)
                continue
            block, _ = place.queue.popleft()
            seconds, place.since = time.monotonic() - place.since, time.monotonic()
            if isinstance(value, Encoded) and value.batches is None:
                place.as_bytes = True
                self._submit(place, block)
                continue
            self._note_rate(block.method, seconds, len(block.items))
            self.processors.add(place.started.processor)
            yield _Result(block, value, place.started.facts == self._facts)
        for place in list(self._placement.places):
            if place.awaited is not None and time.monotonic() - place.since > self._limit(place):
                self._replace(place, None, again)

    def _note_rate(self, method: str, seconds: float, items: int) -> None:
        self._seconds[method] = max(self._seconds.get(method, 0.0), seconds / items)

    def _limit(self, place: Place) -> float:
        """How many seconds a start, or the first of a queue, may take."""
        if place.started is None:
            return UNTIMED_LIMIT
        block = place.queue[0][0]
        if block.method not in self._seconds:
            return UNTIMED_LIMIT
        return max(SHORTEST_LIMIT, LIMIT_FACTOR * self._seconds[block.method] * len(block.items))

    def _replace(self, place: Place, error: Exception | None, again: deque[_Block]) -> None:
        """Gives the blocks of a worker that failed, or that hangs if there is no error, to others.

        Raises:
            ZeroshotError: the error is one that the user can correct, or the block has failed too often.
        """
        cause = getattr(error, "cause", None)
        if isinstance(cause, ZeroshotError):
            raise ZeroshotError(f"{cause} (a worker on {place.host})") from error
        reason = f"no answer in {self._limit(place):.0f} s" if error is None else self._reason(error)
        blocks = [block for block, _ in place.queue]
        place.queue.clear()
        again.extend(blocks)
        if blocks:
            blocks[0].failures += 1
            if blocks[0].failures == FAILURES:
                raise ZeroshotError(
                    f"{_name(blocks[0])} failed on {FAILURES} workers, the last on {place.host} ({reason}): what was "
                    "encoded is kept; leave these out and start again"
                ) from error
        self._placement.replace(place, reason)

    def _reason(self, error: Exception) -> str:
        """Why a worker failed, in a few words."""
        exceptions, text = self._ray.exceptions, str(error)
        if isinstance(error, exceptions.OutOfMemoryError):
            return "out of memory"
        if isinstance(error, exceptions.NodeDiedError) or "node has died" in text:
            return "its host left the cluster"
        if isinstance(error, exceptions.RayActorError):
            return "its process ended"
        cause = getattr(error, "cause", None) or error
        return " ".join(f"{type(cause).__name__}: {cause}".split())[:LONGEST_REASON]


def _name(block: _Block) -> str:
    """A block as an error names it: by its first and last file, or by their places."""
    first, last = block.items[0], block.items[-1]
    if block.method == "encode_texts":
        return f"the texts from {first!r} to {last!r}"
    if isinstance(first, str | os.PathLike) and isinstance(last, str | os.PathLike):
        return f"the images from {os.fspath(first)} to {os.fspath(last)}"
    return f"the images {block.start} to {block.start + len(block.items) - 1}"
