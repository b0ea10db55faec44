"""Times what reading and resizing images costs the image tower, which they run beside.

    python -m tests.benchmarks.preprocessing [--model clip_vit_b_32] [--data FOLDER] [--json FILE]

The same tower encodes batches that are ready, then the same number of batches from CIFAR's arrays of 32 × 32 pixels,
then from JPEG files of 500 × 375; turns alternate, and the median of the turns' ratios counts, since a machine's speed
drifts. Images are read until the clock stops, as many as are encoded. On a CPU the two share its cores: the bound is
what an image's preprocessing takes of them alone, in CPU seconds, over their number.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.benchmarks import machine
from tests.benchmarks.runs import CIFAR
from tests.drawn import draw
from zeroshot.config.named import architecture, known_models
from zeroshot.data import cifar
from zeroshot.errors import ZeroshotError
from zeroshot.models.encoder import Encoder, Pixels

BATCHES = 8  # that are timed
READ_AHEAD = 3  # batches, rounded up, that the encoder reads before their turn
TURNS = 9
JPEG = (500, 375)


def files(pictures: Iterable[Pixels], folder: Path) -> list[Path]:
    """CIFAR's pictures, enlarged and roughened as photographs are, as JPEG files of the usual size."""
    drawn = np.random.default_rng(0)
    paths = []
    for place, picture in enumerate(pictures):
        large = np.asarray(Image.fromarray(picture).resize(JPEG, Image.Resampling.BICUBIC))
        rough = (large + drawn.normal(0, 6, large.shape)).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{place}.jpg")
        Image.fromarray(rough).save(paths[-1], quality=90)
    return paths


def whole(encoder: Encoder, images: Iterable[Any]) -> Iterator[Pixels]:
    """The images as batches of pixels, as the encoder reads them; a ragged rest is left out."""
    pixels = (image for image in encoder.read(images) if not isinstance(image, ZeroshotError))
    while len(batch := list(islice(pixels, encoder.batch_size))) == encoder.batch_size:
        yield np.stack(batch)


def seconds(encoder: Encoder, pixels: Iterator[Pixels]) -> float:
    """Of a batch, from when the first is done; those read ahead of it make up for those read ahead at the end."""
    batches = map(encoder.encode_pixels, pixels)
    next(batches)
    started = time.perf_counter()
    count = sum(1 for _ in islice(batches, BATCHES))
    return (time.perf_counter() - started) / count


def measure(model: str, data: Path) -> dict[str, Any]:
    """Images a second of each source, and what share of the ready batches' is lost."""
    size = architecture(known_models()[model])
    encoder = Encoder(size, draw(size), workers=2)
    count = (1 + BATCHES + READ_AHEAD) * encoder.batch_size
    arrays = [np.asarray(picture) for picture in cifar.load(data, "test", "fine", "cifar100").images[:count]]
    ready = list(whole(encoder, arrays))
    with tempfile.TemporaryDirectory() as folder:
        paths = files(arrays, Path(folder))
        sources: dict[str, Callable[[], Iterator[Pixels]]] = {
            "ready": lambda: iter(ready),
            "arrays 32 × 32": lambda: whole(encoder, arrays),
            "JPEG 500 × 375": lambda: whole(encoder, paths),
        }
        encoder.encode_pixels(ready[0])  # compiles
        turns = [{name: seconds(encoder, made()) for name, made in sources.items()} for _ in range(TURNS)]
        alone = {name: _processor_seconds(made) / count for name, made in sources.items()}
    median = {name: statistics.median(turn[name] for turn in turns) for name in sources}
    cores = os.cpu_count() or 1
    return {
        "model": model,
        "batch": encoder.batch_size,
        "sources": {
            name: {
                "images_per_s": encoder.batch_size / each,
                "slower": statistics.median(turn[name] / turn["ready"] for turn in turns) - 1,
                "cpu_ms": 1000 * alone[name],
                "bound": alone[name] / cores / (median["ready"] / encoder.batch_size),
            }
            for name, each in median.items()
        },
    }


def _processor_seconds(made: Callable[[], Iterator[Pixels]]) -> float:
    """CPU seconds of all threads, with nothing beside; the least of three."""
    spent = []
    for _ in range(3):
        before = time.process_time()
        for _ in islice(made(), None):
            pass
        spent.append(time.process_time() - before)
    return min(spent)


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    lines = [f"| {result['model']}, batch {result['batch']} | images/s | slower | CPU, ms an image | bound |"]
    lines.append("|---|---:|---:|---:|---:|")
    for name, each in result["sources"].items():
        figures = f"{each['images_per_s']:.2f} | {each['slower']:.1%} | {each['cpu_ms']:.2f} | {each['bound']:.1%}"
        lines.append(f"| {name} | {figures} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="clip_vit_b_32")
    parser.add_argument("--data", type=Path, default=CIFAR, help="the folder of CIFAR-100")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.model, arguments.data)
    print(table(result))  # noqa: T201
    machine.write_json({"machine": machine.described(), **result}, arguments.json)


if __name__ == "__main__":
    main()
