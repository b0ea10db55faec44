"""Times what several workers gain and what their leader can feed, and reckons runs over many cards from it.

    python -m tests.benchmarks.workers [--json FILE]          measures, then prints the tables
    python -m tests.benchmarks.workers --from FILE            prints the tables of a measurement

Two workers with a core each are compared with one process of two threads, in turns. What the leader needs for a block
is measured with workers that answer at once. A simulation of leader and workers is compared with real workers, each of
which stands for a card: it takes a given time for a block, in which it sleeps. No card was at hand: its rate is an
assumption.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks import machine
from tests.devices.pixel_encoder import FACTS, PixelEncoder
from tests.drawn import draw
from zeroshot.config.named import architecture, known_models
from zeroshot.devices.pool import BATCHES_PER_BLOCK, QUEUED, EncoderPool
from zeroshot.devices.worker import Facts
from zeroshot.features.store import FeatureStore
from zeroshot.models.encoder import Encoder
from zeroshot.models.feature_batch import FeatureBatch
from zeroshot.scoring import rank

MODEL = "clip_vit_b_32"
IMAGES = 256  # of a turn on the real network
TURNS = 3
WIDTH = 512  # of a feature of B/32
CLASSES = 1000
BATCH = 256  # of a card
BLOCK = BATCH * BATCHES_PER_BLOCK
BLOCKS = 24
JPEG = bytes(110_000)  # as large as ImageNet's files are on average: 1,281,167 in 138 GB
CARDS = {"clip_vit_b_32": 3600.0, "clip_vit_l_14": 470.0}  # images/s, assumed; docs/scale.md says from what
RUNS = {"10 thousand": 10_000, "1.28 million": 1_281_167, "400 million": 400_000_000}


class Card(PixelEncoder):
    """Stands for a card: takes the same time for each image, and gives features without meaning."""

    batch_size = BATCH

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def feature_batches(self, images: Sequence[Any], batch_size: int | None = None) -> Iterator[FeatureBatch]:  # type: ignore[override]
        for start in range(0, len(images), BATCH):
            places = np.arange(start, min(start + BATCH, len(images)))
            time.sleep(self._seconds * len(places))
            yield FeatureBatch(places, np.zeros((len(places), WIDTH), np.float32))


def card(seconds: float) -> tuple[Card, Facts]:
    """Builds a `Card`; workers import it."""
    return Card(seconds), FACTS


def network() -> tuple[Encoder, Facts]:
    """Builds the real network with drawn weights."""
    size = architecture(known_models()[MODEL])
    return Encoder(size, draw(size), workers=2), FACTS


def pool(build: Callable[[], Any], leader: Any, count: int) -> EncoderPool:
    """Workers on this machine."""
    return EncoderPool(build, leader, FACTS, "CPU", count, None)


def drained(encoder: Any, images: Any) -> float:
    """Seconds for the features of all images."""
    started = time.perf_counter()
    with closing(encoder.feature_batches(images)) as batches:
        for _ in batches:
            pass
    return time.perf_counter() - started


def measure_network() -> dict[str, Any]:
    """Images a second of one process and of two workers, in turns, and what the workers' start takes."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), np.uint8)
    alone, _ = network()
    alone.encode_image(images[: alone.batch_size])
    started = time.perf_counter()
    two = pool(network, alone, 2)
    start_seconds = time.perf_counter() - started
    turns = [(drained(alone, images), drained(two, images)) for _ in range(TURNS + 1)][1:]
    two.close()
    one_s, two_s = (float(np.median(column)) for column in zip(*turns, strict=True))
    return {
        "model": MODEL,
        "images": IMAGES,
        "one_process": IMAGES / one_s,
        "two_workers": IMAGES / two_s,
        "ratio": one_s / two_s,
        "start_s": start_seconds,
    }


def measure_leader() -> dict[str, Any]:
    """Seconds of the leader for a block of 1,024 images: sent in each form, ranked among 1,000 classes, stored."""
    instant = pool(partial(card, 0.0), Card(0.0), 2)
    count = BLOCKS * BLOCK
    arrays = np.zeros((count, 32, 32, 3), np.uint8)
    forms: dict[str, tuple[Any, int]] = {"arrays of 32 × 32": (arrays, arrays[0].nbytes)}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{place}.jpg") for place in range(BLOCK)]
        for path in paths:
            path.write_bytes(JPEG)
        forms["files by path, same host"] = (paths * BLOCKS, len(str(paths[0])))
        sent = {name: drained(instant, images) / BLOCKS for name, (images, _) in forms.items()}
        sizes = {name: size * BLOCK for name, (_, size) in forms.items()}
        alone = pool(partial(card, 0.0), Card(0.0), 1)
        latency = min(drained(alone, arrays[:BLOCK]) for _ in range(5))
        alone.close()
        instant._placement.here = "another host"
        sent["files by digest, other host"] = drained(instant, paths * BLOCKS) / BLOCKS
        for place in instant._placement.places:
            place.as_bytes = True
        sent["files as bytes, other host"] = drained(instant, paths * 4) / 4
        sizes |= {"files by digest, other host": 32 * BLOCK, "files as bytes, other host": len(JPEG) * BLOCK}
        instant.close()
        store = FeatureStore(Path(folder) / "features", dict(FACTS), WIDTH)
        features = unit(np.random.default_rng(0).normal(size=(BLOCK, WIDTH)))
        digests = [place.to_bytes(32, "big") for place in range(BLOCK)]
        stored = timed(lambda: store.add(digests, features))
    classes = unit(np.random.default_rng(1).normal(size=(CLASSES, WIDTH))).astype(np.float64)
    batches = [FeatureBatch(np.arange(BATCH), features[:BATCH])] * BATCHES_PER_BLOCK
    return {
        "block": BLOCK,
        "bytes": sizes,
        "send_s": sent,
        "worker_s": latency - sent["arrays of 32 × 32"],
        "rank_s": timed(lambda: list(rank(batches, classes, 100.0, 5))),
        "store_s": stored,
    }


def unit(features: NDArray[Any]) -> NDArray[np.float32]:
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def timed(function: Callable[[], Any]) -> float:
    """Seconds of the quickest of five calls."""
    found = []
    for _ in range(5):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return min(found)


def measure_cards(leader: dict[str, Any]) -> list[dict[str, float]]:
    """Images a second of real workers that stand for cards, and of the simulation."""
    images = np.zeros((BLOCKS * BLOCK, 32, 32, 3), np.uint8)
    found = []
    for rate in CARDS.values():
        for count in (1, 2, 4):
            workers = pool(partial(card, 1 / rate), Card(0.0), count)
            blocks = BLOCKS if rate > 1000 else 2 * count
            real = drained(workers, images[: blocks * BLOCK])
            workers.close()
            block_seconds = BLOCK / rate + leader["worker_s"]
            reckoned = simulated(blocks, count, block_seconds, leader["send_s"]["arrays of 32 × 32"])
            size = blocks * BLOCK
            found.append({"rate": rate, "workers": count, "real": size / real, "simulated": size / reckoned})
    return found


def simulated(blocks: int, workers: int, block_seconds: float, leader_seconds: float) -> float:
    """Seconds of a run: the leader hands out a block at a time, each worker holds `QUEUED` and encodes one."""
    now, ends, queued = 0.0, [0.0] * workers, [0] * workers
    busy: list[tuple[float, int]] = []  # when a block ends, and whose it is
    for _ in range(blocks):
        while busy and (busy[0][0] <= now or min(queued) == QUEUED):
            end, worker = heappop(busy)
            now, queued[worker] = max(now, end), queued[worker] - 1
        now += leader_seconds
        worker = min(range(workers), key=lambda each: (queued[each], ends[each]))
        ends[worker] = max(ends[worker], now) + block_seconds
        queued[worker] += 1
        heappush(busy, (ends[worker], worker))
    return max(ends)


def runs(leader: dict[str, Any]) -> Iterator[tuple[str, str, int, float, float]]:
    """Model, images, cards, seconds, and the share of the time in which a card encodes."""
    leader_seconds = leader["send_s"]["files by digest, other host"] + leader["rank_s"] + leader["store_s"]
    for model, rate in CARDS.items():
        for name, images in RUNS.items():
            for cards in (1, 8, 64):
                blocks = -(-images // BLOCK)
                shown = min(blocks, 20_000)  # the rest goes on at the same rate
                seconds = simulated(shown, cards, BLOCK / rate + leader["worker_s"], leader_seconds) * blocks / shown
                yield model, name, cards, seconds, images / rate / cards / seconds


def tables(result: dict[str, Any]) -> str:
    """The measurement and what is reckoned from it, as Markdown."""
    network, leader = result["network"], result["leader"]
    lines = [
        "| what | figure |",
        "|---|---:|",
        f"| {network['model']}, one process with two threads | {network['one_process']:.2f} images/s |",
        f"| two workers with a core each | {network['two_workers']:.2f} images/s, {network['ratio']:.2f} × |",
        f"| start of two workers | {network['start_s']:.1f} s |",
    ]
    for name, seconds in leader["send_s"].items():
        size = leader["bytes"][name] / 1e6
        lines.append(f"| a block of {leader['block']:,} {name} ({size:.2f} MB) | {1000 * seconds:.0f} ms |")
    lines.append(f"| the worker, to receive such arrays and to answer | {1000 * leader['worker_s']:.0f} ms |")
    lines.append(f"| a block ranked among 1,000 classes | {1000 * leader['rank_s']:.0f} ms |")
    lines.append(f"| a block put into the feature store | {1000 * leader['store_s']:.0f} ms |")
    lines += [
        "",
        "| a card's rate | workers | measured, images/s | simulated | difference |",
        "|---:|---:|---:|---:|---:|",
    ]
    for each in result["cards"]:
        real, reckoned = each["real"], each["simulated"]
        difference = f"{reckoned / real - 1:+.1%}"
        lines.append(f"| {each['rate']:,.0f} | {each['workers']} | {real:,.0f} | {reckoned:,.0f} | {difference} |")
    lines += ["", "| model | images | cards | time | of it a card encodes |", "|---|---|---:|---:|---:|"]
    for model, name, cards, seconds, share in runs(leader):
        lines.append(f"| {model} | {name} | {cards} | {duration(seconds)} | {share:.0%} |")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds for people."""
    for unit_seconds, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_seconds:
            return f"{seconds / unit_seconds:.0f} {name}"
    return f"{seconds:.0f} s"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--from", type=Path, dest="measured")
    arguments = parser.parse_args()
    if arguments.measured:
        result = cast("dict[str, Any]", json.loads(arguments.measured.read_text(encoding="utf-8")))
    else:
        leader = measure_leader()
        measured = {"leader": leader, "cards": measure_cards(leader), "network": measure_network()}
        result = {"machine": machine.described(), **measured}
    print(tables(result))  # noqa: T201
    machine.write_json(result, arguments.json)


if __name__ == "__main__":
    main()
