"""Times both towers beside their peers on the same cores, and prints a table.

    python -m tests.benchmarks.towers [--models clip_vit_b_32 …] [--json FILE]

Each peer is a process of its own; while one runs, the others are stopped, so that their waiting threads take nothing.
They run in turns, batch size by batch size, and the best batch size of each counts: ratios are of one hour.
Needs torch, transformers, onnx, onnxruntime and openvino.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import described, write_json
from tests.benchmarks.peers import PEERS, TEXT_PEERS, THREADS
from zeroshot.config.named import architecture, known_models
from zeroshot.models.architecture import Architecture

BATCHES = {
    "clip_vit_b_32": (16, 32, 64),
    "clip_vit_b_16": (4, 8, 16),
    "clip_vit_l_14": (3, 4, 8),
    "siglip_vit_b_16": (4, 8, 16),
}
SECONDS = 3.0  # of a peer's turn, about
COMPARED = [name for name in PEERS if name != "matmul"]
TURNS = 5
TEXT_TURNS = 2


class Peer:
    """A peer's process; it is stopped but for its turns."""

    def __init__(self, name: str, model: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.peers", name, model]
        environment = {**os.environ, "BENCHMARK_THREADS": str(THREADS), "OMP_NUM_THREADS": str(THREADS)}
        self.name = name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answer("ready")
        self.process.send_signal(signal.SIGSTOP)

    def seconds(self, batch: int, rounds: int) -> float:
        """The quickest of some rounds."""
        self.process.send_signal(signal.SIGCONT)
        assert self.process.stdin is not None
        print(batch, rounds, file=self.process.stdin, flush=True)
        answer = self._answer()
        self.process.send_signal(signal.SIGSTOP)
        return float(answer)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def _answer(self, until: str = "") -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == until or (not until and line.strip()):
                return line
        raise RuntimeError(f"{self.name} ended")


def flops(size: Architecture) -> float:
    """Floating-point operations of the products of one image, with every position in every layer."""
    rows, width = size.image_positions, size.vision_width
    layer = 2 * rows * width * 12 * width + 4 * rows * rows * width
    return size.vision_layers * layer + 2 * size.patches * width * 3 * size.patch_size**2


def measure(model: str) -> dict[str, Any]:
    """Images a second of each peer, the median over turns at its best batch size, and its ratio to ours by turn."""
    size = architecture(known_models()[model])
    peers = {name: Peer(name, model) for name in PEERS}
    rates: dict[str, dict[int, list[float]]] = {name: {batch: [] for batch in BATCHES[model]} for name in peers}
    try:
        for batch in BATCHES[model]:
            rounds = {name: max(1, round(SECONDS / peer.seconds(batch, 1))) for name, peer in peers.items()}
            for _ in range(TURNS):
                for name, peer in peers.items():
                    rates[name][batch].append(batch / peer.seconds(batch, rounds[name]))
    finally:
        for peer in peers.values():
            peer.close()
    best = {name: max(turns, key=lambda batch: statistics.median(turns[batch])) for name, turns in rates.items()}
    products = 2 * 2048 * 4 * size.vision_width**2  # of one call of `matmul`, whatever its batch
    peak = max(rate / batch * products for batch, turns in rates["matmul"].items() for rate in turns)
    result: dict[str, Any] = {"model": model, "peak_gflops": peak / 1e9}
    ours = rates["ours"][best["ours"]]
    for name in COMPARED:
        turns = rates[name][best[name]]
        ratios = [mine / theirs for mine, theirs in zip(ours, turns, strict=True)]
        result[name] = {
            "batch": best[name],
            "images_per_s": statistics.median(turns),
            "share_of_peak": statistics.median(turns) * flops(size) / peak,
            "ours_over_it": statistics.median(ratios),
        }
    return result


def measure_texts(model: str) -> dict[str, Any]:
    """Seconds for 1,800 prompts, ours and transformers', and their ratio: medians over turns."""
    peers = {name: Peer(name, model) for name in TEXT_PEERS}
    try:
        turns = [{name: peer.seconds(1, 1) for name, peer in peers.items()} for _ in range(TEXT_TURNS)]
    finally:
        for peer in peers.values():
            peer.close()
    seconds = {name: statistics.median(turn[name] for turn in turns) for name in TEXT_PEERS}
    ratio = statistics.median(turn["transformers texts"] / turn["our texts"] for turn in turns)
    return {"model": model, **seconds, "ratio": ratio}


def table(results: list[dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    peers = [name for name in COMPARED if name != "ours"]
    heads = ["model", "ours, images/s", *peers, *(f"ours / {name}" for name in peers), "share of peak"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for each in results:
        rates = [f"{each[name]['images_per_s']:.2f}" for name in COMPARED]
        ratios = [f"{each[name]['ours_over_it']:.2f}" for name in peers]
        cells = [each["model"], *rates, *ratios, f"{each['ours']['share_of_peak']:.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=list(BATCHES), default=list(BATCHES))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()
    results = [measure(model) for model in arguments.models]
    machine = {**described(), "threads": THREADS}
    texts = measure_texts(arguments.models[0])
    print(table(results))  # noqa: T201
    both = f"ours {texts['our texts']:.1f} s, transformers {texts['transformers texts']:.1f} s"
    print(f"1,800 prompts, {texts['model']}: {both}: {texts['ratio']:.1f} times as quick")  # noqa: T201
    print(f"{machine}, {time.perf_counter() - started:.0f} s in all")  # noqa: T201
    write_json({"machine": machine, "images": results, "texts": texts}, arguments.json)


if __name__ == "__main__":
    main()
