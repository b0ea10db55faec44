"""The parts of a run, made from a checked config: data set, weights, encoder."""

import logging
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from zeroshot import ranks
from zeroshot.config.named import architecture, known_models
from zeroshot.config.paths import PACKAGE, expand_path, home
from zeroshot.config.schema import Cifar, Csv, Device, ImageFolder, Model, Shapes
from zeroshot.data import cifar, csv_list, image_folder, shapes
from zeroshot.data.image_set import ImageSet
from zeroshot.data.image_source import load_image
from zeroshot.downloads.fetch import fetch, unpack
from zeroshot.errors import ZeroshotError
from zeroshot.features.key import feature_key
from zeroshot.features.store import FeatureStore
from zeroshot.models.checkpoints import checkpoint as weights
from zeroshot.models.checkpoints.checkpoint import Checkpoint
from zeroshot.models.checkpoints.files import shards, weights_file
from zeroshot.models.tokenizer import EOT, SOT, Tokenizer
from zeroshot.scoring.class_embeddings import mean_of_templates

if TYPE_CHECKING:
    from zeroshot.models.encoder import Encoder

log = logging.getLogger(__name__)
Item = TypeVar("Item")

OPENAI = "https://openaipublic.azureedge.net/"  # where the weights lie whose figures were published
TEXT_BLOCK = 4096  # texts whose features are held at once
QUIET_SECONDS = 30  # between two lines of progress where there is no terminal
OFFLINE = "experiment=quickstart needs no download"


def load_data(dataset: Any) -> ImageSet:
    """The labelled images that `dataset` names, all of the split; what is missing and has a URL is downloaded.

    Raises:
        ZeroshotError: they can't be read or downloaded.
    """
    return LOADERS[type(dataset)](dataset)


def _load_cifar(dataset: Cifar) -> ImageSet:
    return cifar.load(cifar_root(dataset), dataset.split.value, dataset.labels.value, dataset.name)


def _load_folder(dataset: ImageFolder) -> ImageSet:
    return image_folder.load(expand_path(dataset.root), _optional(dataset.class_names), dataset.name, dataset.split)


def _load_csv(dataset: Csv) -> ImageSet:
    return csv_list.load(expand_path(dataset.root), _optional(dataset.class_names), dataset.name, dataset.split)


def _load_shapes(dataset: Shapes) -> ImageSet:
    return shapes.load(dataset.split.value, dataset.labels.value, dataset.name, dataset.seed, dataset.size)


LOADERS: dict[type, Callable[[Any], ImageSet]] = {
    Cifar: _load_cifar,
    ImageFolder: _load_folder,
    Csv: _load_csv,
    Shapes: _load_shapes,
}


def class_groups(dataset: Any, data: ImageSet) -> dict[str, list[int]]:
    """Class ids that are reported apart, by the name of their group; for most data sets there are none."""
    if not isinstance(dataset, Shapes) or data.label_kind != "fine":
        return {}
    unseen = [place for place, name in enumerate(data.classes) if name in shapes.UNSEEN]
    return {"seen pairs": sorted(set(range(len(data.classes))) - set(unseen)), "unseen pairs": unseen}


def cifar_root(dataset: Cifar) -> Path:
    """The folder of a CIFAR; our own one is downloaded and unpacked if it is not there yet."""
    root = expand_path(dataset.root)
    ours = home() / "data"
    if root.exists() or dataset.url is None or root.parent != ours:
        return root
    try:
        archive = fetch(
            _addresses(dataset.url), dataset.sha256 or "", ours / _file_name(dataset.url), progress=_terminal()
        )
        return unpack(archive, root)
    except ZeroshotError as error:
        raise ZeroshotError(f"{root} is not there: {error}; or set dataset.root to where it lies; {OFFLINE}") from error


def weights_path(model: Model) -> Path:
    """The model's weights on this machine: the user's own path, a file of this package, or a download.

    Raises:
        ZeroshotError: they are not there and can't be fetched, or the file that is there is another.
    """
    given = model.weights
    if given.path is not None:
        return expand_path(given.path)
    addresses = _addresses(given.url)
    if not addresses:
        raise ZeroshotError(
            f"model={model.name} has no weights: set model.weights.path to a file or a folder; {OFFLINE}"
        )
    if addresses[0].startswith(PACKAGE):
        return _packaged(addresses[0], given.sha256)
    target = home() / "weights" / _file_name(addresses)
    try:
        return fetch(addresses, given.sha256 or "", target, progress=_terminal())
    except ZeroshotError as error:
        raise ZeroshotError(
            f"model={model.name}: {error}; or set model.weights.path to a file of yours; {OFFLINE}"
        ) from error


def load_weights(model: Model) -> tuple[Checkpoint, dict[str, Any]]:
    """The model's weights, whole and of its sizes, and what the record says of the model.

    Raises:
        ZeroshotError: they are missing, broken, of other sizes or trained with another activation.
    """
    known = known_models()
    path = weights_path(model)
    with ThreadPoolExecutor(1) as beside:  # hashing takes a second a gigabyte and leaves a core free
        hashing = beside.submit(weights.file_digest, path)
        checkpoint = weights.load(path, architecture(model), {name: architecture(each) for name, each in known.items()})
        digest = hashing.result()
    if checkpoint.activation not in (None, model.activation.value):
        raise ZeroshotError(
            f"{path} was trained with another activation: type model.activation={checkpoint.activation}"
        )
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


def build(model: Model, device: Device, checkpoint: Checkpoint) -> tuple["Encoder", dict[str, Any]]:
    """The encoder on the device that is wanted, and what the record says of the device."""
    from zeroshot.devices.target import (
        target as devices,  # only now: MindSpore takes seconds to load, and mistakes come first
    )

    prepared = devices.prepare(device.target.value, device.id, device.dtype.value)
    from zeroshot.models.encoder import Encoder

    encoder = Encoder(
        architecture(model),
        checkpoint.tensors,
        target=prepared.target,
        dtype=prepared.dtype,
        interpolation=model.interpolation.value,
        activation=model.activation.value,
        batch_size=device.batch_size,
        workers=device.workers,
        opened=load_image,
    )
    described = {
        "target": prepared.target,
        "dtype": prepared.dtype,
        "batch_size": encoder.batch_size,
        "world_size": ranks.world_size(),
    }
    return encoder, described


@dataclass
class Ready:
    """A model on its device, its checkpoint without the weights, and what the record says of both."""

    checkpoint: Checkpoint
    model: dict[str, Any]
    encoder: "Encoder"
    device: dict[str, Any]


_ready: dict[Any, Ready] = {}  # the last one: the jobs of a sweep often share a model and differ in their prompts


def ready(model: Model, device: Device) -> Ready:
    """The model, loaded and on its device; that of the last call where it was for the same unchanged files.

    Raises:
        ZeroshotError: the weights or the device can't be used.
    """
    files = [(path, path.stat()) for path in shards(weights_file(weights_path(model)))]
    key = (repr(model), repr(device), *((path, status.st_size, status.st_mtime_ns) for path, status in files))
    made = _ready.get(key)
    if made is None:
        if _ready:
            from zeroshot.models.encoder import release

            _ready.clear()  # first, as there may be no room for two
            release()
        checkpoint, described = load_weights(model)
        made = Ready(replace(checkpoint, tensors={}), described, *build(model, device, checkpoint))
        _ready[key] = made
    return made


def feature_store(model: Model, made: Ready) -> FeatureStore:
    """Where the features of this model on this device are kept."""
    size = architecture(model)
    key = feature_key(size, model.activation.value, made.model, made.device)
    return FeatureStore(home() / "features", key, size.embed_dim)


def embed(encoder: "Encoder", texts: Sequence[str], classes: int) -> NDArray[np.float64]:
    """One unit vector a class [classes, embed_dim], from its texts, class by class; of the texts' own features only a
    block is held at a time. Each rank encodes its part of them.

    Raises:
        ZeroshotError: a text is too long for CLIP.
    """
    templates = len(texts) // classes
    step = max(1, TEXT_BLOCK // templates)
    starts = range(0, classes, step)
    blocks = [
        mean_of_templates(encoder.encode_text(block, ranks.part, ranks.gathered), len(block) // templates)
        for start in (starts if len(starts) == 1 else progress(starts, "texts of the labels", "block"))
        if (block := texts[start * templates : (start + step) * templates])
    ]
    return np.concatenate(blocks)


def warn_of_untrained_words(model: Model, checkpoint: Checkpoint, texts: Sequence[str]) -> None:
    """One warning that names the words of the texts which the weights have never seen, if there are such words."""
    if checkpoint.token_ids is None:
        return
    known = {SOT, EOT, *checkpoint.token_ids.tolist()}
    encode = Tokenizer().encode
    words = dict.fromkeys(word for text in dict.fromkeys(texts) for word in text.split())
    strange = [word for word in words if not known.issuperset(encode(word))]
    if strange:
        shown = ", ".join(strange[:10]) + (f" and {len(strange) - 10} more" if len(strange) > 10 else "")
        log.warning("%s was not trained on these words and knows nothing of them: %s", model.name, shown)


def progress(items: Collection[Item], what: str, unit: str = "img") -> Iterator[Item]:
    """The items, with a bar on a terminal and a line now and then elsewhere; it ends if another rank has failed."""
    if _terminal():
        for item in tqdm(items, desc=what, unit=unit, dynamic_ncols=True):
            ranks.check()
            yield item
        return
    told = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - told > QUIET_SECONDS:
            told = time.monotonic()
            log.info("%s: %d of %d", what, done, len(items))
        ranks.check()
        yield item


def _packaged(address: str, sha256: str | None) -> Path:
    path = expand_path(address)
    if not path.is_file():
        raise ZeroshotError(f"{path} is missing from this installation: install zeroshot-mindspore anew")
    digest = weights.file_digest(path)
    if sha256 is not None and digest != sha256:
        raise ZeroshotError(f"{path} is altered (sha256 {digest}, not {sha256}): install zeroshot-mindspore anew")
    return path


def _addresses(url: Any) -> list[str]:
    """One address, or mirrors in the order in which they are tried."""
    if url is None:
        return []
    return [url] if isinstance(url, str) else [str(each) for each in url]


def _file_name(url: Any) -> str:
    return _addresses(url)[0].rsplit("/", 1)[-1]


def _optional(path: str | None) -> Path | None:
    return None if path is None else expand_path(path)


def _terminal() -> bool:
    return sys.stderr.isatty()
