"""One run: its parts made from a config, then the work, then its record."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from zeroshot import results
from zeroshot.classify import Ranking, class_embeddings, rank
from zeroshot.clip import weights
from zeroshot.clip.weights import Checkpoint
from zeroshot.config import Config, Model, architecture, known_models, path_of, templates_of
from zeroshot.data import cifar, csv_list, image_folder
from zeroshot.data.image_set import ImageSet
from zeroshot.errors import ZeroshotError
from zeroshot.metrics import TOP, Metrics, measure
from zeroshot.prompts import fill
from zeroshot.results import Record

if TYPE_CHECKING:
    from zeroshot.clip.encoder import Encoder

log = logging.getLogger(__name__)
Item = TypeVar("Item")

OPENAI = "https://openaipublic.azureedge.net/"  # where the weights lie whose figures were published
QUIET_SECONDS = 30  # between two lines of progress where there is no terminal


def run(config: Config, folder: Path, record: Record) -> None:
    """Does what the config's stage says, in a folder that is this run's alone, and completes its record there.

    Raises:
        ZeroshotError: something of the input can't be used; nothing was written but what is complete.
    """
    STAGES[config.stage.name](config, folder, record)


def evaluate(config: Config, folder: Path, record: Record) -> None:
    """Scores a data set and writes the predictions, the counts and the record."""
    started = time.perf_counter()
    data = load_data(config.dataset)
    prompt = {
        "name": config.prompt.name,
        "templates": list(config.prompt.templates),
        "class_names": config.prompt.class_names.value,
    }
    texts = fill(data.classes, prompt["templates"], prompt["class_names"])
    images = data.limited(config.dataset.limit)
    checkpoint, model = load_weights(config.model)
    encoder, device = build(config, checkpoint)

    text_started = time.perf_counter()
    embeddings = class_embeddings(encoder.encode_text(texts), len(data.classes))
    image_started = time.perf_counter()
    shown = progress(images.images, f"{config.model.name} on {config.dataset.name}")
    features = encoder.image_batches(encoder.whole(encoder.pixels(shown)))
    ranking = Ranking.joined(rank(features, embeddings, encoder.logit_scale, TOP))
    ended = time.perf_counter()

    metrics = measure(images.labels, ranking.ids, ranking.probabilities, len(data.classes))
    dataset = {
        "name": data.name,
        "split": data.split,
        "labels": data.label_kind,
        "fingerprint": data.fingerprint,
        "size": len(images),
        "classes": len(data.classes),
    }
    whole_test = data.split == "test" and len(images) == len(data)
    references = results.references(model, dataset, prompt, metrics.top1, templates_of) if whole_test else []
    timing = {
        "total_s": round(ended - started, 3),
        "text_s": round(image_started - text_started, 3),
        "image_s": round(ended - image_started, 3),
        "images_per_s": round(len(images) / (ended - image_started), 3),
        "images_encoded": len(images),
        "images_from_cache": 0,
        "texts_encoded": len(set(texts)),
    }
    results.write_evaluation(folder, images, ranking)
    record |= {"model": model, "dataset": dataset, "prompt": prompt, "device": device, "metrics": vars(metrics)}
    results.write_record(folder, record | {"references": references, "timing": timing})
    for line in summary(metrics, references):
        log.info(line)
    log.info("the record: %s", folder)


STAGES: dict[str, Callable[[Config, Path, Record], None]] = {"eval": evaluate}


def load_data(dataset: Any) -> ImageSet:
    """The labelled images that `dataset` names, all of the split."""
    return LOADERS[dataset.kind](dataset)


def _load_cifar(dataset: Any) -> ImageSet:
    return cifar.load(path_of(dataset.root), dataset.split.value, dataset.labels.value, dataset.name)


def _load_listed(load: Callable[[Path, Path | None, str, str], ImageSet]) -> Callable[[Any], ImageSet]:
    def loader(dataset: Any) -> ImageSet:
        names = None if dataset.class_names is None else path_of(dataset.class_names)
        return load(path_of(dataset.root), names, dataset.name, dataset.split)

    return loader


LOADERS: dict[str, Callable[[Any], ImageSet]] = {
    "cifar": _load_cifar,
    "image_folder": _load_listed(image_folder.load),
    "csv": _load_listed(csv_list.load),
}


def load_weights(model: Model) -> tuple[Checkpoint, dict[str, Any]]:
    """The model's weights, whole and of its sizes, and what the record says of the model."""
    known = known_models()
    path = weights_path(model)
    checkpoint = weights.load(path, architecture(model), {name: architecture(each) for name, each in known.items()})
    if checkpoint.activation not in (None, model.activation.value):
        raise ZeroshotError(
            f"{path} was trained with another activation: type model.activation={checkpoint.activation}"
        )
    digest = weights.file_digest(path)
    openai = {each.weights.sha256: name for name, each in known.items() if str(each.weights.url).startswith(OPENAI)}
    described = {
        "name": model.name,
        "image_size": model.image_size,
        "interpolation": model.interpolation.value,
        "weights": {
            "path": str(path),
            "sha256": digest,
            "format": checkpoint.format,
            "identity": openai.get(digest) or weights.identify(checkpoint.tensors),
        },
    }
    return checkpoint, described


def weights_path(model: Model) -> Path:
    """Where the model's weights lie on this machine."""
    if model.weights.path is not None:
        return path_of(model.weights.path)
    raise ZeroshotError(f"model={model.name} has no weights here: give a file or folder with model.weights.path=PATH")


def build(config: Config, checkpoint: Checkpoint) -> tuple["Encoder", dict[str, Any]]:
    """The encoder on the config's device, and what the record says of the device."""
    from zeroshot import device  # only now: MindSpore takes seconds to load, and mistakes come first

    wanted = config.device
    prepared = device.prepare(wanted.target.value, wanted.id, wanted.dtype.value)
    from zeroshot.clip.encoder import Encoder

    encoder = Encoder(
        architecture(config.model),
        checkpoint.tensors,
        target=prepared.target,
        dtype=prepared.dtype,
        interpolation=config.model.interpolation.value,
        activation=config.model.activation.value,
        batch_size=wanted.batch_size,
        workers=wanted.workers,
    )
    described = {"target": prepared.target, "dtype": prepared.dtype, "batch_size": wanted.batch_size, "world_size": 1}
    return encoder, described


def progress(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items, with a bar on a terminal and a line now and then elsewhere."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, unit="img", dynamic_ncols=True)
        return
    told = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - told > QUIET_SECONDS:
            told = time.monotonic()
            log.info("%s: %d of %d", what, done, len(items))
        yield item


def summary(metrics: Metrics, references: Sequence[dict[str, Any]]) -> list[str]:
    """What a person wants to read first, line by line."""
    lines = [f"Top1 Accuracy={metrics.top1:.2%}"]
    top5 = "" if metrics.top5 is None else f"top-5 {metrics.top5:.2%}, "
    lines.append(
        f"{top5}mean per-class recall {metrics.mean_per_class_recall:.2%}, calibration error {metrics.ece:.2%}"
    )
    lines += [f"published {each['top1']:.2%} ({each['source']}): {each['delta']:+.2%}" for each in references]
    return lines
