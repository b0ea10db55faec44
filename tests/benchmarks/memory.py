"""Prints the peak resident memory of whole runs: each model alone, all of them in one sweep, folders of images.

    python -m tests.benchmarks.memory [--data FOLDER] [--scratch FOLDER] [--json FILE]

Weights are drawn, of the real sizes; each run goes through the command line, at its own batch size, to its page.
The peak is what Linux counted for that process (VmHWM).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.benchmarks import machine
from tests.benchmarks.runs import CIFAR, SIZES, drawn_model, surroundings

# the command, then its peak in bytes as the last line; getrusage would count what the parent held before exec
CODE = """
import sys
from zeroshot.__main__ import main
status = main()
print(int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024)
sys.exit(status)
"""
IMAGES = 48  # three batches of B/32, more of the others
LARGE, SMALL = 50_000, 500


def peak(scratch: Path, *arguments: str) -> int:
    """Bytes that `python -m zeroshot ARGUMENTS` held at most."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        given = ["device=cpu", f"hydra.run.dir={folder}/run", f"hydra.sweep.dir={folder}/sweep"]
        done = subprocess.run(
            [sys.executable, "-c", CODE, *arguments, *given],
            env=surroundings(Path(folder) / "home"),
            cwd=folder,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return int(done.stdout.split()[-1])


def models(scratch: Path, data: Path) -> dict[str, int]:
    """The peak of each model in a process of its own, and of all in one."""
    own = scratch / "own"
    names = {size: drawn_model(size, own) for size in SIZES}
    given = ["--config-dir", str(own), f"dataset.root={data}", f"dataset.limit={IMAGES}"]
    peaks = {size: peak(scratch, *given, f"model={name}") for size, name in names.items()}
    # without the store: the jobs must do the whole work
    return peaks | {"sweep": peak(scratch, *given, "-m", f"model={','.join(names.values())}", "stage.cache=false")}


def folders(scratch: Path) -> dict[str, int]:
    """The peak of a run on a few images of folders with few and with many files."""
    peaks = {}
    for count in (SMALL, LARGE):
        root = scratch / f"images_{count}"
        if not root.exists():
            fill(root, count)
        given = ["model=clip_tiny", "dataset=image_folder", f"dataset.root={root}", f"dataset.limit={IMAGES}"]
        peaks[f"image_folder of {count:,}"] = peak(scratch, *given)
    return peaks


def fill(root: Path, count: int) -> None:
    """Files of a few pixels in ten classes, no two the same."""
    for label in range(10):
        (root / f"class_{label}").mkdir(parents=True)
    for place in range(count):
        colours = np.frombuffer(place.to_bytes(4, "little") * 3, np.uint8).reshape(2, 2, 3)
        Image.fromarray(colours).save(root / f"class_{place % 10}" / f"{place:06}.png")


def table(peaks: dict[str, int]) -> str:
    """The peaks as a Markdown table."""
    lines = ["| one process | peak, GB |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {what} | {size / 1e9:.2f} |" for what, size in peaks.items())])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=CIFAR, help="the folder of CIFAR-100")
    parser.add_argument("--scratch", type=Path, help="where weights and images are made and kept; else temporary")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.scratch or Path(temporary)
        peaks = models(scratch, arguments.data)
        largest = max(peaks[size] for size in SIZES)
        peaks |= folders(scratch)
    growth = peaks["sweep"] / largest - 1
    print(table(peaks))  # noqa: T201
    print(f"the sweep over the largest model alone: {growth:+.1%}")  # noqa: T201
    if arguments.json:
        summary: dict[str, Any] = {"machine": machine.described(), "peak_bytes": peaks, "sweep_over_largest": growth}
        arguments.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
