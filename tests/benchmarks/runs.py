"""Models of the real sizes with drawn weights, and the command line on them: what benchmarks of whole runs share."""

import os
from dataclasses import asdict
from pathlib import Path

from omegaconf import OmegaConf

from tests.conftest import ROOT
from tests.drawn import draw
from zeroshot.config.named import architecture, known_models
from zeroshot.models.checkpoints.save import save

CIFAR = ROOT.parent / "shared" / "data" / "cifar-100-python"
SIZES = ("clip_vit_b_32", "clip_vit_b_16", "clip_vit_l_14", "clip_vit_l_14@336")


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
