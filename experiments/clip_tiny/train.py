"""Trains `clip_tiny` on drawn images and captions, and writes its checkpoint: `python -m experiments.clip_tiny.train`.

A step draws images of the 80 seen pairs, as many of each, and one caption for each pair, each colour and each shape, in
a drawn form. The loss is CLIP's (Radford et al. 2021, section 2.3), over pairs, over colours and over shapes: all
images that a caption is true of are its positives. The twenty unseen pairs occur neither here nor in choosing the
checkpoint.
"""

import argparse
import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from zeroshot.data.shapes import COLOURS, FINE, SHAPES, UNSEEN, draw
from zeroshot.models.architecture import OPENAI_MEAN, OPENAI_STD, VOCABULARY, Architecture, Tensors
from zeroshot.models.checkpoints.save import save
from zeroshot.models.preprocess import Preprocessing
from zeroshot.models.tokenizer import EOT, Tokenizer
from zeroshot.models.towers import MASKED, ImageTower, TextTower
from zeroshot.scoring.prompts import fill_templates

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TRAINING, VALIDATION = 1001, 1002  # seeds of images; those of dataset=shapes are pairs of numbers
TOKENS = "token_embedding.weight"
SOURCE = "experiments/clip_tiny/train.py"
NOISE = 0.1  # added to the variance of patches, so that noise is not blown up
SEEN = [label for label, name in enumerate(FINE) if name not in UNSEEN]

log = logging.getLogger("clip_tiny")


@dataclass(frozen=True)
class Recipe:
    """The keys of train.yaml."""

    seed: int
    steps: int
    easy: float
    images_per_pair: int
    learning_rate: float
    warmup: int
    weight_decay: float
    largest_scale: float
    attribute_weight: float
    composition_weight: float
    validate_every: int
    validation_images: int
    captions: list[str]
    colour_names: list[str]


class Contrast(nn.Cell):
    """Images and captions to the loss."""

    def __init__(self, size: Architecture, tensors: Tensors, recipe: Recipe) -> None:
        super().__init__()
        self.image = ImageTower(size, tensors, Preprocessing(size.image_size))
        self.text = TextTower(size, tensors)
        for path, parameter in self.parameters_and_names():
            path = path.replace("image.", "visual.").replace("text.", "")
            parameter.name = path.replace("resblocks", "transformer.resblocks")
            # the matrix behind each norm does the work of its gain and bias, the position that of the class embedding
            parameter.requires_grad = ".ln_" not in f".{parameter.name}" and "class_embedding" not in parameter.name
        self.logit_scale = Parameter(Tensor(tensors["logit_scale"].reshape(1)), name="logit_scale")
        self.largest, self.weight = recipe.largest_scale, recipe.attribute_weight
        self.composition = recipe.composition_weight
        self.counts = [len(SEEN), len(COLOURS), len(SHAPES)]
        seen = np.array(SEEN)
        self.colour_of, self.shape_of = (
            one_hot(seen // len(SHAPES), len(COLOURS)),
            one_hot(seen % len(SHAPES), len(SHAPES)),
        )
        labels = np.repeat(seen, recipe.images_per_pair)
        pairs, colours, shapes = np.searchsorted(seen, labels), labels // len(SHAPES), labels % len(SHAPES)
        self.true_pairs, self.true_colours, self.true_shapes = (
            one_hot(which, count) for which, count in zip((pairs, colours, shapes), self.counts, strict=True)
        )
        known = np.isin(np.arange(len(FINE)), seen).reshape(len(COLOURS), len(SHAPES))
        self.unknown_colours, self.unknown_shapes = (
            Tensor(np.where(among, 0, MASKED).astype(np.float32)) for among in (known.T[shapes], known[colours])
        )

    def construct(self, pixels: Tensor, tokens: Tensor, positions: Tensor, visible: Tensor, ends: Tensor) -> Tensor:
        images, texts = unit(self.image(pixels)), unit(self.text(tokens, positions, visible, ends))
        scale = ops.exp(ops.minimum(self.logit_scale, self.largest))
        pairs, colours, shapes = ops.split(scale * ops.matmul(images, texts.T), self.counts, 1)
        pair_texts, colour_texts, shape_texts = ops.split(texts, self.counts, 0)
        composed = unit(ops.matmul(self.colour_of, colour_texts) + ops.matmul(self.shape_of, shape_texts))
        strayed = 1 - (pair_texts * composed).sum(1).mean()
        # an image is not held against an attribute it is never seen with: «no star is red» must not be learnt
        colours, shapes = colours + self.unknown_colours, shapes + self.unknown_shapes
        attributes = contrast(colours, self.true_colours) + contrast(shapes, self.true_shapes)
        return contrast(pairs, self.true_pairs) + self.weight * attributes + self.composition * strayed


def one_hot(which: NDArray[np.int64], count: int) -> Tensor:
    return Tensor(np.eye(count, dtype=np.float32)[which])


def unit(x: Tensor) -> Tensor:
    return x * ops.rsqrt((x * x).sum(1, keepdims=True) + 1e-12)


def contrast(logits: Tensor, true: Tensor) -> Tensor:
    """Cross entropy [images, texts] both ways; `true` is 1 where the text holds of the image."""
    to_text = -(true * ops.log_softmax(logits, 1)).sum(1).mean()
    to_image = -(true / true.sum(0, keepdims=True) * ops.log_softmax(logits, 0)).sum(0).mean()
    return (to_text + to_image) / 2


class Captions:
    """The forms of captions, and the compact table of the tokens that they take."""

    def __init__(self, recipe: Recipe) -> None:
        prompts = [OmegaConf.load(file) for file in sorted((ROOT / "conf/prompt").glob("*.yaml"))]
        self.forms = list(dict.fromkeys(form for prompt in prompts for form in prompt.templates if form.isascii()))
        self.forms += [form for form in recipe.captions if form not in self.forms]
        self.colours = [[form.replace("{}", colour) for form in recipe.colour_names] for colour in COLOURS]
        names = [*(FINE[label] for label in SEEN), *(name for some in self.colours for name in some), *SHAPES]
        tokens = Tokenizer()(fill_templates(names, self.forms, "raw"))
        self.length = int(tokens.argmax(axis=1).max()) + 1
        self.ids = np.unique(tokens)  # 0 pads
        rows = np.searchsorted(self.ids, tokens[:, : self.length]).astype(np.int32)
        self.rows = dict(zip(names, rows.reshape(len(names), len(self.forms), self.length), strict=True))

    def drawn(self, random: np.random.Generator) -> NDArray[np.int32]:
        """A caption of each seen pair, each colour and each shape: rows of the table [100, length]."""
        colours = [some[random.integers(len(some))] for some in self.colours]
        names = [*(FINE[label] for label in SEEN), *colours, *SHAPES]
        return np.asarray([self.rows[name][random.integers(len(self.forms))] for name in names])

    def inputs(self, rows: NDArray[np.int32]) -> tuple[Tensor, ...]:
        """What the text tower takes of captions in a row each: tokens, positions, visible tokens, ends."""
        count, length = rows.shape
        positions = np.tile(np.arange(length, dtype=np.int32), (count, 1))
        visible = np.tile(np.tri(length, dtype=np.bool_), (count, 1, 1))
        ends = (rows == np.searchsorted(self.ids, EOT)).argmax(axis=1)[:, None].astype(np.int32)
        return Tensor(rows), Tensor(positions), Tensor(visible), Tensor(ends)


def initial(size: Architecture, tokens: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights to start from, the token table reduced to `tokens` rows; norms are plain."""
    random = np.random.default_rng(seed)
    drawn = {}
    for name, shape in size.shapes().items():
        layers, width = size.text_layers, size.text_width
        if name.startswith("visual"):
            layers, width = size.vision_layers, size.vision_width
        if name == TOKENS:
            shape = (tokens, width)
        spread = {"conv1.weight": (3 * size.patch_size**2) ** -0.5, "out_proj.weight": (2 * layers * width) ** -0.5}
        spread |= {"c_fc.weight": width**-0.5, "c_proj.weight": (8 * layers * width) ** -0.5}
        spread |= {"in_proj_weight": width**-0.5, "proj": width**-0.5, "text_projection": width**-0.5}
        spread |= {TOKENS: 0.1, "visual.positional_embedding": 0.5, "positional_embedding": 0.05}
        found = [value for ending, value in spread.items() if name.endswith(ending)]
        is_gain = name.split(".")[-2:-1] and name.split(".")[-2].startswith("ln_") and name.endswith("weight")
        values = random.standard_normal(shape) * found[0] if found else np.full(shape, 1.0 if is_gain else 0.0)
        drawn[name] = values.astype(np.float32)
    drawn["logit_scale"] = np.array(math.log(10), np.float32)
    kernel, shift = whitening(size, seed)
    drawn["visual.conv1.weight"] = kernel
    drawn["visual.positional_embedding"][1:] += shift
    return drawn


def whitening(size: Architecture, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A patch embedding [width, 3, p, p] whose outputs are uncorrelated over training images, and what centres them.

    Patches differ most by their mean colour; without this, the edges that make a shape stay hidden behind it for long.
    """
    images = normalised(draw(np.repeat(SEEN, 20), [TRAINING, seed]))
    grid, p = size.image_size // size.patch_size, size.patch_size
    patches = (
        images.reshape(-1, grid, p, grid, p, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3 * p * p).astype(np.float64)
    )
    mean = patches.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(patches, rowvar=False))
    chosen = np.argsort(-variances)[: size.vision_width]
    matrix = directions[:, chosen] / np.sqrt(variances[chosen] + NOISE)
    return matrix.T.reshape(-1, 3, p, p).astype(np.float32), (-mean @ matrix).astype(np.float32)


def exported(network: Contrast, start: Tensors, size: Architecture, recipe: Recipe) -> dict[str, NDArray[np.float32]]:
    """The tensors by openai/CLIP's names, the token table still reduced; what was not trained is as it began."""
    tensors = dict(start)
    trained = {parameter.name: parameter.asnumpy() for parameter in network.trainable_params()}
    for name in [name for name in trained if ".attn.q." in name]:
        block, _, kind = name.rpartition(".q.")
        trained[f"{block}.in_proj_{kind}"] = np.concatenate([trained.pop(f"{block}.{part}.{kind}") for part in "qkv"])
    for name, values in trained.items():
        if name == "visual.conv1.weight":
            p = size.patch_size
            values = values.reshape(-1, p, p, 3).transpose(0, 3, 1, 2)
        if name in ("visual.proj.weight", "text_projection.weight"):
            name, values = name.removesuffix(".weight"), values.T
        if name == "token_embedding":
            name = TOKENS
        tensors[name] = np.ascontiguousarray(values).reshape(start[name].shape).copy()
    tensors["logit_scale"] = np.asarray(np.minimum(tensors["logit_scale"], np.float32(recipe.largest_scale)))
    return tensors


def normalised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return (images / np.float32(255) - np.array(OPENAI_MEAN, np.float32)) / np.array(OPENAI_STD, np.float32)


def batches(recipe: Recipe, captions: Captions) -> Iterator[tuple[Tensor, ...]]:
    """What each step reads, drawn in a thread while the step before it runs."""
    labels = np.repeat(SEEN, recipe.images_per_pair)
    random = np.random.default_rng([recipe.seed, TRAINING])

    def batch(step: int) -> tuple[Tensor, ...]:
        rows = captions.drawn(random)
        variety = min(256, 256 * step // max(1, round(recipe.easy * recipe.steps)))
        images = draw(labels, [TRAINING, recipe.seed, step], variety=variety)
        return Tensor(images), *captions.inputs(rows)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(batch, 0)
        for step in range(recipe.steps):
            drawn = waiting.result()
            waiting = pool.submit(batch, step + 1)
            yield drawn


def optimizer(network: Contrast, recipe: Recipe) -> nn.Optimizer:
    """AdamW; only matrices decay. The rate rises linearly, then falls by half a cosine."""
    steps = np.arange(recipe.steps)
    fall = 0.5 + 0.5 * np.cos(np.pi * np.maximum(steps - recipe.warmup, 0) / (recipe.steps - recipe.warmup))
    rate = recipe.learning_rate * np.minimum((steps + 1) / recipe.warmup, fall)
    matrices = [p for p in network.trainable_params() if p.ndim > 1 and "embedding" not in p.name]
    others = [p for p in network.trainable_params() if not any(p is matrix for matrix in matrices)]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return nn.AdamWeightDecay(groups, learning_rate=rate.astype(np.float32).tolist(), beta2=0.98)


def train(size: Architecture, recipe: Recipe, output: Path) -> None:
    """Trains and writes the checkpoint of the best validation: the first of equals."""
    ms.set_seed(recipe.seed)
    captions = Captions(recipe)
    start = initial(size, len(captions.ids), recipe.seed)
    network = Contrast(size, start, recipe)
    update = optimizer(network, recipe)
    weights = update.parameters  # in the order of its groups
    log.info("%d caption forms, %d tokens", len(captions.forms), len(captions.ids))
    log.info("%d weights", sum(weight.size for weight in weights))
    gradient = ops.value_and_grad(network, None, weights)

    def step(pixels: Tensor, tokens: Tensor, positions: Tensor, visible: Tensor, ends: Tensor) -> Tensor:
        loss, grads = gradient(pixels, tokens, positions, visible, ends)
        return ops.depend(loss, update(ops.clip_by_global_norm(grads, 1.0)))

    compiled, validate = ms.jit(step), validation(network, recipe, captions)
    best, losses, began = -1.0, [], time.perf_counter()
    for count, batch in enumerate(batches(recipe, captions), start=1):
        losses.append(float(compiled(*batch).asnumpy()))
        if count % recipe.validate_every and count != recipe.steps:
            continue
        accuracy, scale = validate(), math.exp(network.logit_scale.asnumpy().item())
        log.info("step %4d  loss %.4f  logit scale %5.2f  seen pairs, other images %.4f  %4.0f s",
                 count, np.mean(losses), scale, accuracy, time.perf_counter() - began)  # fmt: skip
        losses.clear()
        if accuracy > best:
            best = accuracy
            write(exported(network, start, size, recipe), captions, output)


def validation(network: Contrast, recipe: Recipe, captions: Captions):  # type: ignore[no-untyped-def]
    """Top-1 among the 80 seen pairs of images that training doesn't draw, with the name alone as the caption."""
    batch = len(SEEN) * recipe.images_per_pair
    labels = np.resize(np.repeat(SEEN, recipe.images_per_pair), recipe.validation_images)
    images = draw(labels, [VALIDATION, recipe.seed])
    bare = captions.forms.index("{}")
    rows = np.stack([captions.rows[FINE[label]][bare] for label in SEEN])
    inputs = captions.inputs(rows)
    image, text = ms.jit(network.image.construct), ms.jit(network.text.construct)

    def accuracy() -> float:
        texts = text(*inputs).asnumpy()
        texts /= np.linalg.norm(texts, axis=1, keepdims=True)
        parts = [image(Tensor(images[at : at + batch])).asnumpy() for at in range(0, len(images), batch)]
        found = np.array(SEEN)[(np.concatenate(parts) @ texts.T).argmax(axis=1)]
        return float((found == labels).mean())

    return accuracy


def write(tensors: Tensors, captions: Captions, output: Path) -> None:
    """The checkpoint in fp16: of the token table the trained rows alone."""
    trained = captions.ids > 0  # padding is never read
    table = np.zeros((VOCABULARY, tensors[TOKENS].shape[1]), np.float32)
    table[captions.ids] = tensors[TOKENS]
    save({**tensors, TOKENS: table}, output, "float16", token_ids=captions.ids[trained].astype(np.int64), source=SOURCE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=HERE / "train.yaml")
    parser.add_argument("--model", type=Path, default=ROOT / "conf/model/clip_tiny.yaml")
    parser.add_argument("--output", type=Path, default=ROOT / "zeroshot/models/clip_tiny.safetensors")
    parser.add_argument("overrides", nargs="*", help="key=value")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    merged = DictConfig(OmegaConf.merge(OmegaConf.load(given.config), OmegaConf.from_dotlist(given.overrides)))
    recipe = Recipe(**{field.name: merged[field.name] for field in fields(Recipe)})
    model = DictConfig(OmegaConf.load(given.model))
    train(
        Architecture(**{field.name: model[field.name] for field in fields(Architecture) if field.name in model}),
        recipe,
        given.output,
    )


if __name__ == "__main__":
    main()
