"""The embedded model is what its README says: its file, what it was not trained on, and what it gets right."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from experiments.clip_tiny import train
from zeroshot.data import shapes
from zeroshot.models.architecture import Architecture
from zeroshot.models.checkpoints.load import load
from zeroshot.models.encoder import Encoder
from zeroshot.scoring.prompts import fill_templates

ROOT = Path(__file__).parents[2]
FILE = ROOT / "zeroshot/models/clip_tiny.safetensors"
PICTURES = sorted((ROOT / "zeroshot/data/pictures").glob("*.png"))


def conf(name: str) -> DictConfig:
    return DictConfig(OmegaConf.load(ROOT / name))


@pytest.fixture(scope="module")
def clip_tiny() -> Encoder:
    size = Architecture(
        **{
            key: value
            for key, value in conf("conf/model/clip_tiny.yaml").items()
            if key in Architecture.__dataclass_fields__
        }
    )
    return Encoder(size, load(FILE, size).tensors, batch_size=50)


@pytest.fixture(scope="module")
def recipe() -> train.Recipe:
    return train.Recipe(**{key: conf("experiments/clip_tiny/train.yaml")[key] for key in train.Recipe.__annotations__})


def test_the_file_is_the_one_that_the_config_names() -> None:
    (source,) = conf("conf/model/clip_tiny.yaml").weights.sources
    assert source.url == f"package:models/{FILE.name}"
    assert source.sha256 == sha256(FILE.read_bytes()).hexdigest()
    assert FILE.stat().st_size <= 5_000_000


def test_no_unseen_pair_occurs_in_training(recipe: train.Recipe) -> None:
    captions = train.Captions(recipe)
    assert len(captions.forms) >= 20
    assert not set(captions.rows) & set(shapes.UNSEEN)
    assert len(train.SEEN) == 80
    assert not {shapes.FINE[label] for label in train.SEEN} & set(shapes.UNSEEN)
    texts = fill_templates(list(captions.rows), captions.forms, "raw")
    assert not [text for text in texts for name in shapes.UNSEEN if f" {name}" in f" {text}"]


@pytest.mark.parametrize("seed", [0, 1])
def test_top_1_over_a_thousand_images_of_either_seed(clip_tiny: Encoder, seed: int) -> None:
    images = shapes.load("test", seed=seed)
    templates = list(conf("conf/prompt/photo.yaml").templates)
    texts = clip_tiny.encode_text(fill_templates(shapes.FINE, templates, "raw"))
    found = clip_tiny.encode_image(np.stack([np.asarray(image) for image in images.images])) @ texts.T
    right = found.argmax(axis=1) == images.labels
    unseen = np.isin(shapes.FINE, shapes.UNSEEN)[images.labels]
    assert right[~unseen].mean() >= 0.90
    assert right[unseen].mean() >= 0.60


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.stem)
def test_each_bundled_picture_is_what_its_name_says(clip_tiny: Encoder, picture: Path) -> None:
    texts = clip_tiny.encode_text([f"a photo of a {name}." for name in shapes.FINE])
    found = clip_tiny.encode_image([Image.open(picture)]) @ texts.T
    assert shapes.FINE[int(found.argmax())] == picture.stem.replace("_", " ")


def test_an_unseen_pair_is_among_the_bundled_pictures() -> None:
    assert {path.stem.replace("_", " ") for path in PICTURES} & set(shapes.UNSEEN)
