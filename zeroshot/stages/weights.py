"""From the `model` config to a checkpoint: where its weights are, and what the record says of them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from zeroshot.config.named import architecture, known_models
from zeroshot.config.paths import PACKAGE, expand_path, home
from zeroshot.config.schema import Model
from zeroshot.downloads.fetch import Source, fetch
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.identity import file_digest, identify
from zeroshot.models.checkpoints.load import Checkpoint, load
from zeroshot.stages.dataset import OFFLINE


def weights_path(model: Model) -> Path:
    """The model's weights on this machine: the user's own path, a file of this package, or a download.

    Raises:
        ZeroshotError: they are not there and can't be fetched, or the file that is there is another.
    """
    given = model.weights
    if given.path is not None:
        return expand_path(given.path)
    if not given.sources:
        raise ZeroshotError(
            f"model={model.name} has no weights: set model.weights.path to a file or a folder; {OFFLINE}"
        )
    first = given.sources[0]
    if first.url.startswith(PACKAGE):
        return _file_of_package(first.url, first.sha256)
    try:
        sources = [Source(each.url, each.sha256 or "") for each in given.sources]
        return fetch(sources, home() / "weights" / model.name)
    except ZeroshotError as error:
        raise ZeroshotError(f"model={model.name}: {error}; or set model.weights.path to a file; {OFFLINE}") from error


def load_weights(model: Model) -> tuple[Checkpoint, dict[str, Any]]:
    """The model's weights, complete and of its sizes, and what the record says of the model.

    Raises:
        ZeroshotError: they are missing, broken, of other sizes or trained with another activation.
    """
    known = known_models()
    path = weights_path(model)
    with ThreadPoolExecutor(1) as thread:  # hashing takes a second a gigabyte and leaves a core free
        hashing = thread.submit(file_digest, path)
        checkpoint = load(path, architecture(model), {name: architecture(each) for name, each in known.items()})
        digest = hashing.result()
    if checkpoint.activation not in (None, model.activation.value):
        raise ZeroshotError(
            f"{path} was trained with another activation: type model.activation={checkpoint.activation}"
        )
    published = {
        source.sha256: name
        for name, each in known.items()
        for source in each.weights.sources
        if not source.url.startswith(PACKAGE)
    }
    description = {
        "name": model.name,
        "image_size": model.image_size,
        "interpolation": model.interpolation.value,
        "weights": {
            "path": str(path),
            "sha256": digest,
            "format": checkpoint.format,
            "identity": published.get(digest) or identify(checkpoint.tensors),
        },
    }
    return checkpoint, description


def _file_of_package(url: str, sha256: str | None) -> Path:
    path = expand_path(url)
    if not path.is_file():
        raise ZeroshotError(f"{path} is missing from this installation: install zeroshot-mindspore again")
    digest = file_digest(path)
    if sha256 is not None and digest != sha256:
        raise ZeroshotError(f"{path} was changed (sha256 {digest}, not {sha256}): install zeroshot-mindspore again")
    return path
