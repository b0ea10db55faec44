"""Prints the peak resident memory of whole runs: each model alone, all of them in one sweep, folders of images.

    python -m tests.benchmarks.memory [--data FOLDER] [--scratch FOLDER] [--json FILE]

Weights are drawn, of the real sizes; each run goes through the command line, at its own batch size, to its page.
The peak is what Linux counted for that process (VmHWM).
"""

import argparse
import tempfile
from pathlib import Path

from tests.benchmarks import machine
from tests.benchmarks.runs import CIFAR, SIZES, drawn_model, peak, tiny_images

IMAGES = 48  # three batches of B/32, more of the others
LARGE, SMALL = 50_000, 500


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
            tiny_images(root, count)
        given = ["model=clip_tiny", "dataset=image_folder", f"dataset.root={root}", f"dataset.limit={IMAGES}"]
        peaks[f"image_folder of {count:,}"] = peak(scratch, *given)
    return peaks


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
    summary = {"machine": machine.described(), "peak_bytes": peaks, "sweep_over_largest": growth}
    machine.write_json(summary, arguments.json)


if __name__ == "__main__":
    main()
