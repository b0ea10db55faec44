"""Named checkpoints' architectures as open_clip and transformers build and write them: the same features from ours.

Weights are drawn, of the real widths, a few layers of the large models. Needs torch, and open_clip or transformers.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("torch", reason="the live comparison needs torch")

import torch
from safetensors.torch import save_file

from tests.downloads.hub_server import HubServer, only_hub
from tests.drawn import draw
from zeroshot.config.named import architecture, known_models
from zeroshot.config.schema import Device, Model, Target, Weights
from zeroshot.models.architecture import CONTEXT_LENGTH
from zeroshot.models.tokenizer import EOT, SOT, Tokenizer
from zeroshot.stages.encoder import load_new_model
from zeroshot.stages.weights import load_weights

Features = tuple[NDArray[np.float32], NDArray[np.float32]]  # of images and texts, of unit length

MODELS = [
    ("laion2b_vit_b_32", 12, 12),
    ("metaclip_400m_vit_b_32", 2, 2),
    ("laion2b_vit_l_14", 3, 2),
    ("laion2b_vit_h_14", 2, 2),
    ("laion2b_vit_g_14", 2, 2),
]
TEXTS = ["a photo of a cat", "a satellite image of a highway at night", "向日葵", "!", "a" * 60]


def pictures() -> list[Image.Image]:
    """Noise of several sizes, so that the resize and the crop count.

    What is cut off is an even number of pixels: of an odd one, torchvision (open_clip) and transformers, which is our
    reference, leave the last pixel on different sides.
    """
    drawn = np.random.default_rng(5)
    sizes = [(224, 224), (300, 200), (100, 251), (640, 480), (31, 33)]
    return [Image.fromarray(drawn.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]


def unit(features: torch.Tensor) -> NDArray[np.float32]:
    return np.asarray(torch.nn.functional.normalize(features, dim=-1).numpy())


def by_open_clip(folder: Path, model: Model) -> Features:
    """The features of open_clip's own model, which is left in the folder as its hub repositories are."""
    open_clip = pytest.importorskip("open_clip", reason="open_clip is not there")
    from open_clip.model import CLIP
    from open_clip.transform import image_transform

    sizes = architecture(model)
    vision = {
        "image_size": sizes.image_size,
        "layers": sizes.vision_layers,
        "width": sizes.vision_width,
        "head_width": sizes.vision_width // sizes.vision_heads,
        "mlp_ratio": sizes.vision_mlp_width / sizes.vision_width,
        "patch_size": sizes.patch_size,
    }
    text = {
        "context_length": 77,
        "vocab_size": 49408,
        "width": sizes.text_width,
        "heads": sizes.text_heads,
        "layers": sizes.text_layers,
    }
    quick = model.activation.value == "quick_gelu"
    built = CLIP(sizes.embed_dim, vision, text, quick_gelu=quick).eval()
    built.load_state_dict({name: torch.tensor(values) for name, values in draw(sizes).items()}, strict=False)
    pixels = {"mean": model.mean, "std": model.std, "interpolation": "bicubic", "resize_mode": model.resize.value}
    config = {"model_cfg": {"embed_dim": sizes.embed_dim, "vision_cfg": vision, "text_cfg": text, "quick_gelu": quick}}
    (folder / "open_clip_config.json").write_text(json.dumps(config | {"preprocess_cfg": pixels}), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in built.state_dict().items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    prepare = image_transform(
        sizes.image_size, is_train=False, mean=tuple(model.mean), std=tuple(model.std), resize_mode=model.resize.value
    )
    tokens = open_clip.tokenizer.SimpleTokenizer()(TEXTS)
    with torch.no_grad():
        images = built.encode_image(torch.stack([prepare(image) for image in pictures()]))
        return unit(images), unit(built.encode_text(tokens))


def by_transformers(folder: Path, model: Model) -> Features:
    """The features of transformers' own model, which is left in the folder as `save_pretrained` writes it."""
    pytest.importorskip("transformers", reason="transformers is not there")
    from transformers import CLIPImageProcessorPil

    from tests.reference import transformers_clip

    sizes = architecture(model)
    built = transformers_clip.model(sizes, draw(sizes), model.activation.value)
    built.save_pretrained(folder)
    side = {"shortest_edge": sizes.image_size}
    processor = CLIPImageProcessorPil(
        size=side,
        crop_size={"height": sizes.image_size, "width": sizes.image_size},
        image_mean=model.mean,
        image_std=model.std,
    )
    processor.save_pretrained(folder)
    ids = [[SOT, *Tokenizer().encode(text), EOT] for text in TEXTS]
    tokens = torch.tensor([[*each, *[EOT] * (CONTEXT_LENGTH - len(each))] for each in ids])  # as transformers pads
    with torch.no_grad():
        images = built.get_image_features(processor(pictures(), return_tensors="pt")["pixel_values"])
        texts = built.get_text_features(tokens)
    plain = [each if isinstance(each, torch.Tensor) else each.pooler_output for each in (images, texts)]
    return unit(plain[0]), unit(plain[1])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with only_hub({}, tmp_path, monkeypatch) as running:
        yield running


@pytest.mark.parametrize("reference", [by_open_clip, by_transformers])
@pytest.mark.parametrize(("name", "vision_layers", "text_layers"), MODELS)
def test_a_named_architecture_has_the_features_of_its_reference(
    name: str,
    vision_layers: int,
    text_layers: int,
    reference: Callable[[Path, Model], Features],
    hub: HubServer,
    tmp_path: Path,
) -> None:
    model: Any = replace(known_models()[name], vision_layers=vision_layers, text_layers=text_layers)
    folder = tmp_path / "repository"
    folder.mkdir()
    expected = reference(folder, model)
    hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    weights = next(path for path in folder.iterdir() if path.suffix == ".safetensors")
    loaded = load_new_model(replace(model, weights=Weights(path="hf:org/clip")), Device(target=Target.CPU))
    assert loaded.model["assumed"] == []
    for place in (weights, folder):
        checkpoint, _ = load_weights(replace(model, weights=Weights(path=str(place))))
        assert all((checkpoint.tensors[key] == values).all() for key, values in draw(architecture(model)).items())
    found = loaded.encoder.encode_image(pictures()), loaded.encoder.encode_text(TEXTS)
    differences = [float(np.abs(ours - theirs).max()) for ours, theirs in zip(found, expected, strict=True)]
    print(f"{name} by {reference.__name__}: images {differences[0]:.1e}, texts {differences[1]:.1e}")  # noqa: T201
    assert max(differences) < 2e-5
