"""Times the whole job beside others': from the prompt to the written accuracy, real images, drawn weights of B/32.

    python -m tests.benchmarks.whole_job [--images 1000] [--prompts openai_cifar] [--peers clip_benchmark] [--json FILE]
    python -m tests.benchmarks.whole_job --imagenet [--json FILE]

CIFAR-100's images and the named prompt sets, float32, two threads: `python -m zeroshot` with nothing in its store,
CLIP_benchmark's evaluator on open_clip, and a plain transformers script. They run one after the other, in rounds; each
is a process of its own, timed from its start until its accuracies are written (in the record) or printed, and until its
end. With `--imagenet`: one image into ImageNet's classes with 80 templates, beside CLIP_benchmark, whose time for some
of the classes is multiplied. Needs torch, transformers, open_clip and clip_benchmark.
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
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Job:
    """Seconds of a process until it ended and until its accuracies were written or printed, and these."""

    seconds: float
    written_s: float
    accuracies: list[float]


def run(command: list[str]) -> Job:
    """Runs a process, which leaves records or prints a line of accuracies or seconds."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**surroundings(Path(folder) / "home"), "OMP_NUM_THREADS": THREADS, "PYTHONUNBUFFERED": "1"}
        printed, written = None, 0.0
        started = time.time()
        with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.match(r"(?:accuracies|seconds) (.+)", line):
                    printed, written = found[1], time.time() - started
        seconds = time.time() - started
        assert process.returncode == 0, command
        paths = sorted(Path(folder).rglob("result.json"))
        records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        if records:
            written = max(path.stat().st_mtime for path in paths) - started
            return Job(seconds, written, [each["metrics"]["top1"] for each in records if "metrics" in each])
    assert printed, command
    return Job(seconds, written, [float(each) for each in printed.split()])


def measure(scratch: Path, cifar: Path, images: int, prompts: str, peers: list[str], rounds: int) -> dict[str, Any]:
    """Seconds and accuracies of this package and of the peers."""
    jobs = {name: each for name, each in commands(scratch, cifar, images, prompts).items() if name in (OURS, *peers)}
    turns = [{name: run(command) for name, command in jobs.items()} for _ in range(rounds)]
    return {
        name: {
            "seconds": [turn[name].seconds for turn in turns],
            "written_s": [turn[name].written_s for turn in turns],
            "top1": turns[0][name].accuracies,
        }
        for name in jobs
    }


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
    ours = run(own)
    sampled = run([*PEER, "class_embeddings", str(weights), str(sample), IMAGENET_PROMPT])
    [embedding] = sampled.accuracies
    theirs = sampled.seconds + embedding * (len(names) / len(names[::SAMPLE]) - 1)
    measured = {"measured_classes": len(names[::SAMPLE]), "measured_seconds": sampled.seconds}
    summary = {"seconds": [ours.seconds], "written_s": [ours.written_s]}
    return {"classes": len(names), OURS: summary, "clip_benchmark": {"seconds": [theirs], **measured}}


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
    keys = {"seconds": "times_ours", "written_s": "written_times_ours"}
    ours = {key: statistics.median(found[OURS][key]) for key in keys}
    print(f"| {name} | until its end, s | times ours | until written, s | times ours | accuracy |")  # noqa: T201
    print("|---|---:|---:|---:|---:|---:|")  # noqa: T201
    for who in (OURS, *PEERS):
        if who in found:
            cells = []
            for key, ratio in keys.items():
                seconds = statistics.median(found[who].get(key, found[who]["seconds"]))
                found[who][ratio] = seconds / ours[key]
                cells += [f"{seconds:.1f}", f"{seconds / ours[key]:.2f}"]
            accuracies = " ".join(f"{each:.4f}" for each in found[who].get("top1", []))
            print("| " + " | ".join([who, *cells, accuracies]) + " |")  # noqa: T201
    if arguments.json:
        known = json.loads(arguments.json.read_text(encoding="utf-8")) if arguments.json.exists() else {}
        known |= {name: {"machine": machine.described(), "model": MODEL, "load": os.getloadavg()[0], **found}}
        machine.write_json(known, arguments.json)


if __name__ == "__main__":
    main()
