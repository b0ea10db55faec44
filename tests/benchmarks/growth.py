"""Prints how seconds and peak memory of a whole evaluation grow with the number of images.

    python -m tests.benchmarks.growth [--images 1000 10000 50000] [--rounds 3] [--json FILE]

Each run is the command with the embedded model on image files of a few pixels, with an empty feature store. The network
is small, so most of the time goes into everything else that a run does. The start takes the same time for any number of
images; the table therefore compares the seconds that each further image takes.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks import machine
from tests.benchmarks.runs import peak, tiny_images

COUNTS = [1000, 10_000, 50_000]


def measure(scratch: Path, counts: list[int], rounds: int) -> list[dict[str, Any]]:
    """Of each number of images: seconds of a run, the median over rounds, and the largest peak in bytes."""
    for count in counts:
        tiny_images(scratch / str(count), count)
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    peaks: dict[int, list[int]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            started = time.perf_counter()
            peaks[count].append(
                peak(scratch, "model=clip_tiny", "dataset=image_folder", f"dataset.root={scratch / str(count)}")
            )
            seconds[count].append(time.perf_counter() - started)
    return [{"images": n, "seconds": statistics.median(seconds[n]), "peak_bytes": max(peaks[n])} for n in counts]


def table(results: list[dict[str, Any]]) -> str:
    """The results as a Markdown table, with the milliseconds of each image beyond those of the size before."""
    lines = ["| images | seconds | ms for each further image | peak, MB |", "|---:|---:|---:|---:|"]
    for before, each in zip([None, *results], results, strict=False):
        further = ""
        if before is not None:
            further = f"{1000 * (each['seconds'] - before['seconds']) / (each['images'] - before['images']):.3f}"
        lines.append(f"| {each['images']:,} | {each['seconds']:.1f} | {further} | {each['peak_bytes'] / 1e6:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder), sorted(arguments.images), arguments.rounds)
    print(table(results))  # noqa: T201
    machine.write_json({"machine": machine.described(), "runs": results}, arguments.json)


if __name__ == "__main__":
    main()
