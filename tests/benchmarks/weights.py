"""Prints how long weights take to load, and how much memory: `python -m tests.benchmarks.weights [FOLDER]`.

For ViT-B/32 and ViT-L/14 with drawn weights, from safetensors in float32 and float16: the arrays alone, and a ready
model. Memory is the peak of a process of its own, over what it held once everything was imported, as a multiple of the
weights in float32. No torch is needed; FOLDER takes 3 GB for the files.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.drawn import draw
from zeroshot.models.architecture import Architecture
from zeroshot.models.checkpoints.load import load
from zeroshot.models.checkpoints.save import save

SIZES = {
    "b_32": Architecture(512, 224, 32, 768, 12, 512, 12),
    "l_14": Architecture(768, 224, 14, 1024, 24, 768, 12),
}


def peak() -> int:
    """Bytes that this process has held at most, from Linux; getrusage would count what the parent held before exec."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measure(path: Path, size: Architecture, *, ready: bool) -> str:
    """Load once, here; what it took."""
    if ready:
        from zeroshot.models.encoder import Encoder
    before, start = peak(), time.perf_counter()
    tensors = load(path, size).tensors
    if ready:
        encoder = Encoder(size, tensors)
        _ = encoder._image_tower, encoder._text_tower  # made when they are first used
    seconds = time.perf_counter() - start
    whole = sum(4 * int(np.prod(shape)) for shape in size.shapes().values())
    return (
        f"{seconds:5.2f} s, peak {(peak() - before) / whole:4.2f} × the weights, {peak() / whole:4.2f} × with imports"
    )


def main(folder: Path) -> None:
    for name, size in SIZES.items():
        for dtype in ("float32", "float16"):
            path = folder / f"{name}_{dtype}.safetensors"
            if not path.exists():
                save(draw(size), path, "float32" if dtype == "float32" else "float16")
            for what in ("arrays", "model"):
                command = [sys.executable, "-m", "tests.benchmarks.weights", str(path), name, what]
                summary = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
                print(f"{name} {dtype} → {what:6}: {summary}", flush=True)  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(measure(Path(sys.argv[1]), SIZES[sys.argv[2]], ready=sys.argv[3] == "model"))  # noqa: T201
    elif len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
