"""Times the whole job beside others': from the prompt to the written accuracy, real images, drawn weights of B/32.

    python -m tests.benchmarks.whole_job [--images 1000] [--prompts openai_cifar] [--peers clip_benchmark] [--json FILE]
    python -m tests.benchmarks.whole_job --imagenet [--json FILE]

CIFAR-100's images and the named prompt sets, float32, two threads: `python -m zeroshot` with nothing in its store,
CLIP_benchmark's evaluator on open_clip, and a plain transformers script. They run one after the other, in rounds; each
is a process of its own, its start included. With `--imagenet`: one image into ImageNet's classes with 80 templates,
beside CLIP_benchmark, whose time for some of the classes is multiplied. Needs torch, transformers, open_clip and
clip_benchmark.
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

from PIL import Image

from tests.benchmarks import machine
from tests.benchmarks.runs import CIFAR, drawn_model, surroundings
from tests.drawn import draw
from zeroshot.config.named import architecture, known_models
from zeroshot.config.paths import PACKAGE, expand_path

MODEL = "clip_vit_b_32"
THREADS = "2"
IMAGENET_PROMPT = "openai_imagenet"
SAMPLE = 100  # every 100th class of ImageNet is embedded by CLIP_benchmark
OURS, PEERS = "zeroshot", ["clip_benchmark", "transformers"]
PEER = [sys.executable, "-m", "tests.benchmarks.job_peers"]


def saved_for_transformers(folder: Path) -> Path:
    """The same weights as `save_pretrained` leaves them."""
    from tests.reference import transformers_pipeline

    size = architecture(known_models()[MODEL])
    pipeline = transformers_pipeline.pipeline(size, draw(size))
    for part in (pipeline.model, pipeline.tokenizer, pipeline.image_processor):
        part.save_pretrained(folder)
    return folder


def own_command(scratch: Path) -> tuple[list[str], Path]:
    """This package's command with drawn weights, and their file."""
    name = drawn_model(MODEL, scratch / "own")
    command = [sys.executable, "-m", "zeroshot", "--config-dir", str(scratch / "own"), f"model={name}", "device=cpu"]
    return command, scratch / "own" / f"{name}.safetensors"


def commands(scratch: Path, cifar: Path, images: int, prompts: str) -> dict[str, list[str]]:
    """What is timed, by name."""
    own, weights = own_command(scratch)
    own += [f"dataset.root={cifar}", f"dataset.limit={images}", f"prompt={prompts}"]
    if "," in prompts:
        own.append("--multirun")
    rest = [str(cifar), str(images), prompts]
    return {
        OURS: own,
        "clip_benchmark": [*PEER, "clip_benchmark", str(weights), *rest],
        "transformers": [*PEER, "transformers", str(saved_for_transformers(scratch / "transformers")), *rest],
    }


def run(command: list[str]) -> tuple[float, list[float]]:
    """Seconds of a process, and the accuracies it prints or writes."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**surroundings(Path(folder) / "home"), "OMP_NUM_THREADS": THREADS}
        started = time.perf_counter()
        done = subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        seconds = time.perf_counter() - started
        records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(folder).rglob("result.json"))]
    if records:
        return seconds, [record["metrics"]["top1"] for record in records if "metrics" in record]
    printed = re.search(r"^(?:accuracies|seconds) (.+)", done.stdout, re.MULTILINE)
    assert printed, done.stdout
    return seconds, [float(each) for each in printed[1].split()]


def measure(scratch: Path, cifar: Path, images: int, prompts: str, peers: list[str], rounds: int) -> dict[str, Any]:
    """Seconds and accuracies of this package and of the peers."""
    jobs = {name: each for name, each in commands(scratch, cifar, images, prompts).items() if name in (OURS, *peers)}
    turns = [{name: run(command) for name, command in jobs.items()} for _ in range(rounds)]
    return {name: {"seconds": [turn[name][0] for turn in turns], "top1": turns[0][name][1]} for name in jobs}


def measure_imagenet(scratch: Path) -> dict[str, Any]:
    """Seconds of one image into ImageNet's classes with 80 templates; of CLIP_benchmark some classes, multiplied."""
    own, weights = own_command(scratch)
    names = expand_path(f"{PACKAGE}data/imagenet_classes.txt").read_text(encoding="utf-8").splitlines()
    names = list(dict.fromkeys(names))  # two classes may have one name
    labels, sample, image = scratch / "labels.txt", scratch / "sample.txt", scratch / "image.png"
    labels.write_text("\n".join(names), encoding="utf-8")
    sample.write_text("\n".join(names[::SAMPLE]), encoding="utf-8")
    Image.new("RGB", (320, 240), "teal").save(image)
    own += ["stage=predict", f"stage.images=[{image}]", f"stage.labels_file={labels}", f"prompt={IMAGENET_PROMPT}"]
    ours, _ = run(own)
    whole, (embedding,) = run([*PEER, "class_embeddings", str(weights), str(sample), IMAGENET_PROMPT])
    theirs = whole + embedding * (len(names) / len(names[::SAMPLE]) - 1)
    measured = {"measured_classes": len(names[::SAMPLE]), "measured_seconds": whole}
    return {"classes": len(names), OURS: {"seconds": [ours]}, "clip_benchmark": {"seconds": [theirs], **measured}}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--prompts", default="openai_cifar", help="names of prompt sets, with commas between them")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--imagenet", action="store_true")
    parser.add_argument("--data", type=Path, default=CIFAR, help="the folder of CIFAR-100")
    parser.add_argument("--json", type=Path, help="the figures are added to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.imagenet:
            name, found = "imagenet", measure_imagenet(Path(folder))
        else:
            name = f"{arguments.images} images, {arguments.prompts}"
            cifar = arguments.data.resolve()
            found = measure(Path(folder), cifar, arguments.images, arguments.prompts, arguments.peers, arguments.rounds)
    ours = statistics.median(found[OURS]["seconds"])
    print(f"| {name} | seconds | times ours | accuracy |\n|---|---:|---:|---:|")  # noqa: T201
    for who in (OURS, *PEERS):
        if who in found:
            seconds = statistics.median(found[who]["seconds"])
            found[who]["times_ours"] = seconds / ours
            accuracies = " ".join(f"{each:.4f}" for each in found[who].get("top1", []))
            print(f"| {who} | {seconds:.1f} | {seconds / ours:.2f} | {accuracies} |")  # noqa: T201
    if arguments.json:
        known = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else {}
        known |= {name: {"machine": machine.described(), "model": MODEL, "load": os.getloadavg()[0], **found}}
        machine.write_json(known, arguments.json)


if __name__ == "__main__":
    main()
