"""Writes the committed weights files, by torch itself: `python -m tests.reference.make_weights`.

Two tiny CLIPs of the same weights: `archive.pt.gz`, a traced TorchScript archive in float16 as OpenAI published theirs,
and `state_dict.pt.gz`, what a training script saves in bfloat16, some of it in odd layouts. The weights are drawn in
coarse steps, and all tokens have one embedding, so that the files pack well.
"""

import gzip
import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from tests.drawn import draw
from tests.reference.openai_clip import build, save_archive
from zeroshot.models.architecture import Architecture

FIXTURES = Path(__file__).parents[1] / "models" / "fixtures"
MINIATURE = Architecture(
    embed_dim=64, image_size=16, patch_size=8, vision_width=64, vision_layers=1, text_width=64, text_layers=1
)


def coarse() -> dict[str, Tensor]:
    """Weights that float16 and bfloat16 hold exactly: whole multiples of a quarter of their spread."""
    tensors = {}
    for name, values in draw(MINIATURE, seed=7).items():
        step = 2.0 ** round(math.log2(max(values.std() / 4, 1 / 64 if name == "logit_scale" else 0)))
        tensors[name] = (torch.tensor(values) / step).round() * step
    tokens = tensors["token_embedding.weight"]
    tensors["token_embedding.weight"] = tokens[:1].repeat(len(tokens), 1)
    return tensors


def digest(tensors: dict[str, Tensor]) -> str:
    """The digest of `zeroshot.models.checkpoints.load.tensor_digest`, computed by torch."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode() + b"\0" + ",".join(map(str, tensor.shape)).encode() + b"\0")
        found.update(bytes(tensor.half().contiguous().flatten().view(torch.uint8).tolist()))
    return found.hexdigest()


def odd_layouts(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same values in bfloat16: a matrix stored the other way round, two biases in one storage, a parameter."""
    state = {f"module.{name}": tensor.bfloat16() for name, tensor in tensors.items()}
    state["module.visual.proj"] = state["module.visual.proj"].T.contiguous().T
    names = ["module.ln_final.bias", "module.ln_final.weight"]
    tied = torch.stack([state[name] for name in names], dim=1)
    for column, name in enumerate(names):
        state[name] = tied[:, column]
    state["module.token_embedding.weight"] = torch.nn.Parameter(
        state["module.token_embedding.weight"][:1].expand(49408, -1)
    )
    return state


def main() -> None:
    tensors = coarse()
    model = build(MINIATURE, {name: tensor.numpy() for name, tensor in tensors.items()}).half()
    with TemporaryDirectory() as folder:
        archive, state_dict = Path(folder, "archive.pt"), Path(folder, "state_dict.pt")
        save_archive(model, MINIATURE, str(archive))
        torch.save({"epoch": 32, "name": "run", "state_dict": odd_layouts(tensors), "optimizer": {}}, state_dict)
        for file in (archive, state_dict):
            packed = gzip.compress(file.read_bytes(), 9, mtime=0)
            (FIXTURES / f"{file.name}.gz").write_bytes(packed)
            print(f"{file.name}: {file.stat().st_size} bytes, packed {len(packed)}")  # noqa: T201
    summary = {
        "architecture": asdict(MINIATURE),
        "digest": digest(tensors),
        "files": {
            "archive.pt.gz": {"format": "openai-torchscript", "activation": "quick_gelu"},
            "state_dict.pt.gz": {"format": "openai-torch", "activation": None},
        },
        "torch": torch.__version__,
    }
    (FIXTURES / "weights.json").write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
