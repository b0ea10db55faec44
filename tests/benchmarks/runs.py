"""What benchmarks of whole runs share: models of the real sizes with drawn weights, small images, the command."""

import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from tests.conftest import ROOT
from tests.drawn import draw
from zeroshot.config.named import architecture, known_models
from zeroshot.models.checkpoints.save import save

CIFAR = ROOT.parent / "shared" / "data" / "cifar-100-python"
SIZES = ("clip_vit_b_32", "clip_vit_b_16", "clip_vit_l_14", "clip_vit_l_14@336")

# the command, then its peak in bytes as the last line; getrusage would count what the parent held before exec
CODE = """
import sys
from zeroshot.__main__ import main
status = main()
print(int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024)
sys.exit(status)
"""


def drawn_model(size: str, folder: Path) -> str:
    """Writes weights of that size and a `model:` file into a `--config-dir`, once; gives the model's name."""
    name = f"drawn_{size.replace('@', '_')}"
    path = folder / f"{name}.safetensors"
    if not path.exists():
        (folder / "model").mkdir(parents=True, exist_ok=True)
        sizes = architecture(known_models()[size])
        save(draw(sizes), path)
        own = {"name": name, **asdict(sizes), "weights": {"path": str(path)}}
        OmegaConf.save(own, folder / "model" / f"{name}.yaml")
    return name


def surroundings(home: Path, tree: Path = ROOT) -> dict[str, str]:
    """The environment of a process that finds the package in `tree` and nothing in its home."""
    return {**os.environ, "ZEROSHOT_HOME": str(home), "PYTHONPATH": str(tree)}


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


def tiny_images(root: Path, count: int) -> None:
    """Files of a few pixels in ten classes, no two the same."""
    for label in range(10):
        (root / f"class_{label}").mkdir(parents=True)
    for place in range(count):
        colours = np.frombuffer(place.to_bytes(4, "little") * 3, np.uint8).reshape(2, 2, 3)
        Image.fromarray(colours).save(root / f"class_{place % 10}" / f"{place:06}.png")
