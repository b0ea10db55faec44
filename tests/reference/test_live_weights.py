"""Weights as torch, transformers, open_clip and MindSpore write them today, for a small CLIP and for ViT-B/32.

Each file must give the same parameters to the last bit. Needs torch; what else is missing is said.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="the live comparison needs torch")

import torch
from safetensors.torch import load_file, save_file

from tests.drawn import SMALL, draw
from tests.models.checkpoints.checkpoint_files import halves, mindformers_names, write_mindspore
from tests.reference.openai_clip import CLIP, build, save_archive
from zeroshot.models.architecture import CONTEXT_LENGTH, VOCABULARY, Architecture
from zeroshot.models.checkpoints.identity import tensor_digest
from zeroshot.models.checkpoints.load import load
from zeroshot.models.checkpoints.save import save

B_32 = Architecture(
    embed_dim=512, image_size=224, patch_size=32, vision_width=768, vision_layers=12, text_width=512, text_layers=12
)
SIZES = {"small": SMALL, "b_32": B_32}
Tensors = dict[str, NDArray[np.float32]]
Write = Callable[[Path, Architecture, Tensors], Path]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensors]:
    """For each size, weights that float16 and bfloat16 hold exactly."""
    return {name: halves(draw(size)) for name, size in SIZES.items()}


def state_of(
    size: Architecture, tensors: Mapping[str, NDArray[np.float32]], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """The state dict of the torch module, sizes and all."""
    state: dict[str, torch.Tensor] = build(size, tensors).to(dtype).state_dict()
    return state


def archive(folder: Path, size: Architecture, tensors: Tensors) -> Path:
    path = folder / "ViT.pt"
    save_archive(build(size, tensors).half(), size, str(path))
    return path


def scripted(folder: Path, size: Architecture, tensors: Tensors) -> Path:
    """An archive that was compiled instead of traced."""
    path = folder / "scripted.pt"
    torch.jit.save(torch.jit.script(build(size, tensors).half()), str(path))
    return path


def state_dict(folder: Path, size: Architecture, tensors: Tensors) -> Path:
    path = folder / "state.pth"
    torch.save(state_of(size, tensors, torch.float32), path)
    return path


def trained(folder: Path, size: Architecture, tensors: Tensors) -> Path:
    """A parallel training's checkpoint, its optimizer beside the weights."""
    path = folder / "epoch_1.pt"
    model = torch.nn.ModuleDict({"module": build(size, tensors).bfloat16()})
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scale = model["module"].logit_scale
    scale.grad = torch.zeros_like(scale)
    kept = {"epoch": 1, "name": "run", "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(kept, path)
    return path


def one_storage(folder: Path, size: Architecture, tensors: Tensors) -> Path:
    """All parameters as views of one flat storage."""
    path = folder / "flat.pt"
    flat = torch.cat([torch.tensor(values).flatten() for values in tensors.values()])
    views, start = {}, 0
    for name, values in tensors.items():
        views[name] = flat[start : start + values.size].view(values.shape)
        start += values.size
    torch.save(views, path)
    return path


def open_clip_safetensors(folder: Path, size: Architecture, tensors: Tensors) -> Path:
    path = folder / "open_clip_model.safetensors"
    save_file({name: torch.tensor(values).half() for name, values in tensors.items()}, path)
    return path


def bfloat_safetensors(folder: Path, size: Architecture, tensors: Tensors) -> Path:
    path = folder / "bf16.safetensors"
    save_file({name: torch.tensor(values).bfloat16() for name, values in tensors.items()}, path)
    return path


def huggingface(folder: Path, size: Architecture, tensors: Tensors, **how: object) -> Path:
    pytest.importorskip("transformers", reason="transformers is not there")
    from tests.reference import transformers_clip

    transformers_clip.model(size, tensors).save_pretrained(folder / "hub", **how)
    return folder / "hub"


def huggingface_shards(folder: Path, size: Architecture, tensors: Tensors) -> Path:
    path = huggingface(folder, size, tensors, max_shard_size="5MB")
    assert len(list(path.glob("model-*.safetensors"))) > 1
    return path


def huggingface_bin(folder: Path, size: Architecture, tensors: Tensors) -> Path:
    """What transformers saved before safetensors: the state dict, positions and all."""
    path = huggingface(folder, size, tensors)
    state = dict(load_file(path / "model.safetensors"))
    state["text_model.embeddings.position_ids"] = torch.arange(CONTEXT_LENGTH)[None]
    state["vision_model.embeddings.position_ids"] = torch.arange(size.patches + 1)[None]
    torch.save(state, path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    return path


def mindformers(folder: Path, size: Architecture, tensors: Tensors) -> Path:
    pytest.importorskip("mindspore", reason="MindSpore is not there")
    return write_mindspore(folder / "clip.ckpt", mindformers_names(tensors))


FORMATS: dict[str, tuple[Write, str, str | None]] = {
    "archive": (archive, "openai-torchscript", "quick_gelu"),
    "state dict": (state_dict, "openai-torch", None),
    "training": (trained, "openai-torch", None),
    "one storage": (one_storage, "openai-torch", None),
    "open_clip": (open_clip_safetensors, "openai-safetensors", None),
    "bfloat16": (bfloat_safetensors, "openai-safetensors", None),
    "Hugging Face": (huggingface, "huggingface-safetensors", "quick_gelu"),
    "Hugging Face, shards": (huggingface_shards, "huggingface-safetensors", "quick_gelu"),
    "Hugging Face, bin": (huggingface_bin, "huggingface-torch", "quick_gelu"),
    "MindFormers": (mindformers, "mindformers-ckpt", None),
}


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_parameters_to_the_last_bit(
    kind: str, name: str, tmp_path: Path, weights: dict[str, Tensors]
) -> None:
    write, form, activation = FORMATS[kind]
    checkpoint = load(write(tmp_path, SIZES[name], weights[name]), SIZES[name])
    assert checkpoint.format == form
    assert checkpoint.settings.activation == activation
    assert checkpoint.tensors.keys() == weights[name].keys()
    for each, values in checkpoint.tensors.items():
        assert values.shape == weights[name][each].shape
        assert values.tobytes() == weights[name][each].tobytes(), each
    assert tensor_digest(checkpoint.tensors) == tensor_digest(weights[name])


def test_a_scripted_archive_is_read_too(tmp_path: Path, weights: dict[str, Tensors]) -> None:
    try:
        path = scripted(tmp_path, SMALL, weights["small"])
    except (RuntimeError, torch.jit.frontend.NotSupportedError) as error:
        pytest.skip(f"this torch does not compile the module: {error}")
    checkpoint = load(path, SMALL)
    assert checkpoint.format == "openai-torchscript"
    assert tensor_digest(checkpoint.tensors) == tensor_digest(weights["small"])


def test_an_archive_with_the_plain_gelu_says_so(tmp_path: Path, weights: dict[str, Tensors]) -> None:
    model = build(SMALL, weights["small"], torch.nn.GELU)
    save_archive(model, SMALL, str(tmp_path / "gelu.pt"))
    assert load(tmp_path / "gelu.pt", SMALL).settings.activation == "gelu"


def test_what_is_saved_here_torch_reads(tmp_path: Path, weights: dict[str, Tensors]) -> None:
    for dtype in ("float32", "float16"):
        save(weights["small"], tmp_path / "a.safetensors", dtype)
        found = load_file(tmp_path / "a.safetensors")
        expected = state_of(SMALL, weights["small"], getattr(torch, dtype))
        assert found.keys() == expected.keys() - {"input_resolution", "context_length", "vocab_size"}
        assert all(torch.equal(values, expected[name]) for name, values in found.items())
        model = CLIP(SMALL)
        missing, unexpected = model.load_state_dict(found, strict=False)
        assert not unexpected
        assert len(missing) == 3


def test_open_clips_own_model_has_these_names(tmp_path: Path, weights: dict[str, Tensors]) -> None:
    try:
        from open_clip.model import CLIP as OPEN_CLIP
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"open_clip can't be imported: {str(error).splitlines()[0]}")
    vision = {"layers": 3, "width": 128, "patch_size": 8, "image_size": 32}
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": VOCABULARY, "width": 64, "heads": 1, "layers": 2}
    model = OPEN_CLIP(64, vision, text, quick_gelu=True)
    model.load_state_dict({name: torch.tensor(values) for name, values in weights["small"].items()})
    torch.save({"state_dict": model.state_dict()}, tmp_path / "open_clip_pytorch_model.bin")
    config = {"model_cfg": {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    checkpoint = load(tmp_path, SMALL)
    assert checkpoint.settings.activation == "quick_gelu"
    assert tensor_digest(checkpoint.tensors) == tensor_digest(weights["small"])


def test_mindspore_reads_the_same_from_its_own_file(tmp_path: Path, weights: dict[str, Tensors]) -> None:
    ms = pytest.importorskip("mindspore", reason="MindSpore is not there")
    # small: MindSpore refuses a file larger than the memory that no page cache fills
    path = mindformers(tmp_path, SMALL, weights["small"])
    expected = mindformers_names(load(path, SMALL).tensors)
    found = ms.load_checkpoint(str(path))
    assert found.keys() == expected.keys()
    for name, parameter in found.items():
        assert parameter.asnumpy().tobytes() == expected[name].tobytes(), name
