"""Times the whole job beside others': from the prompt to the written accuracy, real images, drawn weights of B/32.

    python -m tests.benchmarks.whole_job [--images 1000] [--rounds 1] [--data FOLDER] [--json FILE]

CIFAR-100's images, 18 templates, float32, two threads: `python -m zeroshot` with nothing in its store, CLIP_benchmark's
evaluator on open_clip, and a plain transformers script. They run one after the other, in rounds; each is a process of
its own, its start included. Needs torch, transformers, open_clip and clip_benchmark.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import machine
from tests.benchmarks.runs import CIFAR, drawn_model, surroundings
from tests.drawn import draw
from zeroshot.config.named import architecture, known_models

MODEL = "clip_vit_b_32"
THREADS = "2"


def saved_for_transformers(folder: Path) -> Path:
    """The same weights as `save_pretrained` leaves them."""
    from tests.reference import transformers_pipeline

    size = architecture(known_models()[MODEL])
    pipeline = transformers_pipeline.pipeline(size, draw(size))
    for part in (pipeline.model, pipeline.tokenizer, pipeline.image_processor):
        part.save_pretrained(folder)
    return folder


def commands(scratch: Path, cifar: Path, images: int) -> dict[str, list[str]]:
    """What is timed, by name."""
    name = drawn_model(MODEL, scratch / "own")
    weights = scratch / "own" / f"{name}.safetensors"
    own = ["--config-dir", str(scratch / "own"), f"model={name}", f"dataset.root={cifar}", f"dataset.limit={images}"]
    peer = [sys.executable, "-m", "tests.benchmarks.job_peers"]
    rest = [str(cifar), str(images)]
    return {
        "zeroshot": [sys.executable, "-m", "zeroshot", *own, "device=cpu"],
        "clip_benchmark": [*peer, "clip_benchmark", str(weights), *rest],
        "transformers": [*peer, "transformers", str(saved_for_transformers(scratch / "transformers")), *rest],
    }


def run(command: list[str]) -> tuple[float, float]:
    """Seconds of a process, and the accuracy it prints."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**surroundings(Path(folder) / "home"), "OMP_NUM_THREADS": THREADS}
        started = time.perf_counter()
        done = subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - started
        records = list(Path(folder).rglob("result.json"))
        if records:
            return seconds, float(json.loads(records[0].read_text(encoding="utf-8"))["metrics"]["top1"])
    accuracy = re.search(r"accuracy (\S+)", done.stdout)
    assert accuracy, done.stdout
    return seconds, float(accuracy[1])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--data", type=Path, default=CIFAR, help="the folder of CIFAR-100")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        jobs = commands(Path(scratch), arguments.data.resolve(), arguments.images)
        rounds = [{name: run(command) for name, command in jobs.items()} for _ in range(arguments.rounds)]
    ours = statistics.median(each["zeroshot"][0] for each in rounds)
    results: dict[str, Any] = {}
    print("| whole job | seconds | times ours | accuracy |\n|---|---:|---:|---:|")  # noqa: T201
    for name in jobs:
        seconds, accuracy = statistics.median(each[name][0] for each in rounds), rounds[0][name][1]
        load = os.getloadavg()[0]
        results[name] = {"seconds": [each[name][0] for each in rounds], "times_ours": seconds / ours, "top1": accuracy}
        print(f"| {name} | {seconds:.1f} | {seconds / ours:.2f} | {accuracy:.4f} |")  # noqa: T201
    if arguments.json:
        summary = {"machine": machine.described(), "model": MODEL, "images": arguments.images, "load": load, **results}
        arguments.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
