"""Times the start: from `python -m zeroshot` to the first finished batch of images, stage by stage.

    python -m tests.benchmarks.start [--models clip_vit_b_32 …] [--data FOLDER] [--tree CHECKOUT] [--json FILE]

Weights are drawn, of the real sizes, and lie on this machine; the data set is CIFAR-100 with its 18 templates, and no
feature is in the store. Each run is a process of its own; the quickest of some counts. `--tree` times the package of
another checkout, to see what a change brought.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import machine
from tests.benchmarks.runs import CIFAR, drawn_model, surroundings
from tests.conftest import ROOT

TURNS = 3
IMAGES = {"clip_vit_b_32": 48, "clip_vit_b_16": 12, "clip_vit_l_14": 9, "clip_vit_l_14@336": 3}  # three batches of each
STAGES = {
    "imports": "Python, our modules",
    "config": "Hydra, config checked",
    "data": "data set read",
    "weights": "weights read",
    "digests": "their sha256",
    "mindspore": "MindSpore imported",
    "text_tower": "text tower made",
    "text_compile": "compiled",
    "texts": "1,800 prompts encoded",
    "image_tower": "image tower made",
    "image_compile": "compiled",
    "first_batch": "first batch encoded",
}


def measure(model: str, data: Path, tree: Path, scratch: Path) -> dict[str, Any]:
    """Seconds of each stage, of the quickest of some runs."""
    name = drawn_model(model, scratch / "own")
    return min(
        (_run(name, IMAGES[model], data, tree, scratch) for _ in range(TURNS)), key=lambda seconds: seconds["total"]
    )


def _run(name: str, images: int, data: Path, tree: Path, scratch: Path) -> dict[str, Any]:
    summary = scratch / "spans.json"
    command = [sys.executable, str(ROOT / "tests" / "benchmarks" / "timed.py"), str(summary)]
    arguments = ["--config-dir", str(scratch / "own"), f"model={name}", f"dataset.root={data}", "device=cpu"]
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        run = [f"hydra.run.dir={folder}/run", f"dataset.limit={images}", "stage.cache=false"]
        environment = surroundings(Path(folder) / "home", tree)
        subprocess.run(
            [*command, repr(time.time()), *arguments, *run], env=environment, cwd=folder, check=True, stderr=sys.stderr
        )
    return seconds_of(json.loads(summary.read_text(encoding="utf-8")))


def seconds_of(spans: dict[str, list[list[float]]]) -> dict[str, Any]:
    """The stages' seconds, and the total until the first batch, from when they began and ended."""
    lasted = {name: [end - begin for begin, end in each] for name, each in spans.items()}
    text, image = lasted["_text_tower called"], lasted["_image_tower called"]
    # shapes that are met for the first time are compiled: all that is above the usual call
    text_compile = sum(each - min(text) for each in text if each > 3 * min(text))
    image_compile = image[0] - min(image)
    stages = {
        "imports": spans["imports"][0][1],
        "config": spans["data"][0][0] - spans["imports"][0][1],
        "data": sum(lasted["data"]),
        "weights": sum(lasted["weights"]),
        "digests": sum(lasted["digests"]),
        "mindspore": sum(lasted["mindspore"]),
        "text_tower": sum(lasted["_text_tower made"]),
        "text_compile": text_compile,
        "texts": sum(lasted["texts"]) - sum(lasted["_text_tower made"]) - text_compile,
        "image_tower": sum(lasted["_image_tower made"]),
        "image_compile": image_compile,
        "first_batch": min(image),
    }
    return {"total": spans["batches"][0][1], "stages": stages}


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as a Markdown table; stages that run beside each other add up to more than the whole."""
    lines = ["| seconds | " + " | ".join(results) + " |", "|---|" + "---:|" * len(results)]
    for stage, summary in STAGES.items():
        lines.append(f"| {summary} | " + " | ".join(f"{each['stages'][stage]:.2f}" for each in results.values()) + " |")
    totals = " | ".join(f"**{each['total']:.1f}**" for each in results.values())
    return "\n".join([*lines, f"| **until the first batch of images** | {totals} |"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=list(IMAGES), default=["clip_vit_b_32", "clip_vit_l_14@336"])
    parser.add_argument("--data", type=Path, default=CIFAR, help="the folder of CIFAR-100")
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--scratch", type=Path, help="where weights are drawn and kept; else in a temporary folder")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        results = {model: measure(model, arguments.data, arguments.tree, scratch) for model in arguments.models}
    print(table(results))  # noqa: T201
    commit = ["git", "-C", str(arguments.tree), "rev-parse", "--short", "HEAD"]
    head = subprocess.run(commit, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    summary = {"commit": head, "machine": machine.described(), "turns": TURNS, "models": results}
    machine.write_json(summary, arguments.json)


if __name__ == "__main__":
    main()
