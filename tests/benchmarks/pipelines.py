"""Times 1,000 images × 20 labels through `zeroshot.pipeline` and through transformers' own pipeline, side by side.

    python -m tests.benchmarks.pipelines [--images 1000] [--model clip_vit_b_32]

Each is a process of its own, with the same drawn weights, images, labels and threads. They take turns, a block of the
images at a time; the one that waits is stopped. Both are called as a user calls them: a list of images, no further
settings. Needs torch and transformers.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from tests.drawn import draw
from zeroshot.config.named import architecture, known_models

LABELS = [
    "apple",
    "bear",
    "bicycle",
    "bottle",
    "bridge",
    "butterfly",
    "camel",
    "castle",
    "chair",
    "clock",
    "cloud",
    "crab",
    "dolphin",
    "elephant",
    "house",
    "lion",
    "mushroom",
    "rocket",
    "rose",
    "tractor",
]
TEMPLATE = "a picture of {}"
BLOCK = 100  # images of a turn
WARM_UP = 32
THREADS = os.cpu_count() or 1

Classify = Callable[[list[Image.Image]], Any]


def images(first: int, count: int) -> list[Image.Image]:
    """Pictures of 320 × 240 pixels, each another one."""
    made = []
    for place in range(first, first + count):
        rough = np.random.default_rng(place).integers(0, 256, (12, 16, 3), np.uint8)
        made.append(Image.fromarray(rough).resize((320, 240), Image.Resampling.BICUBIC))
    return made


def ours(model: str, weights: str) -> Classify:
    from zeroshot import pipeline

    return pipeline(model=model, weights=weights, candidate_labels=LABELS, prompt=TEMPLATE)


def theirs(model: str, weights: str) -> Classify:
    import torch
    from safetensors.numpy import load_file

    from tests.reference import transformers_pipeline

    torch.set_num_threads(THREADS)
    built = transformers_pipeline.pipeline(architecture(known_models()[model]), load_file(weights), "bilinear")
    return lambda pictures: built(pictures, candidate_labels=LABELS, hypothesis_template=TEMPLATE)


SIDES = {"ours": ours, "theirs": theirs}


def serve(side: str, model: str, weights: str) -> None:
    """One side: for each line `FIRST COUNT` the seconds that those images took."""
    classify = SIDES[side](model, weights)
    classify(images(0, WARM_UP))
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        pictures = images(*map(int, line.split()))
        started = time.perf_counter()
        made = classify(pictures)
        seconds = time.perf_counter() - started
        assert len(made) == len(pictures)
        print(seconds, flush=True)  # noqa: T201


class Side:
    """The process of one side, stopped but for its turns."""

    def __init__(self, name: str, model: str, weights: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.pipelines", "--side", name, "--model", model, str(weights)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
        )
        while (line := self._line()) != "ready":
            assert line, f"{name} ended early"
        self.process.send_signal(signal.SIGSTOP)

    def seconds(self, first: int, count: int) -> float:
        self.process.send_signal(signal.SIGCONT)
        assert self.process.stdin is not None
        print(first, count, file=self.process.stdin, flush=True)
        answer = float(self._line())
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


def compare(model: str, count: int) -> None:
    """Prints both rates and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "drawn.safetensors")
        save_file(draw(architecture(known_models()[model])), weights)
        sides = {name: Side(name, model, weights) for name in SIDES}
        taken = dict.fromkeys(SIDES, 0.0)
        try:
            for first in range(0, count, BLOCK):
                for name, side in sides.items():
                    taken[name] += side.seconds(first, min(BLOCK, count - first))
        finally:
            for side in sides.values():
                side.close()
    for name, seconds in taken.items():
        print(f"{name:7} {count / seconds:7.2f} images/s  ({count} images × {len(LABELS)} labels, {seconds:.1f} s)")  # noqa: T201
    print(f"ours is {taken['theirs'] / taken['ours']:.2f} times as fast, {model}, {THREADS} threads")  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", default="clip_vit_b_32")
    parser.add_argument("--images", type=int, default=1000)
    given = parser.parse_args()
    if given.side:
        serve(given.side, given.model, given.weights)
    else:
        compare(given.model, given.images)


if __name__ == "__main__":
    main()
