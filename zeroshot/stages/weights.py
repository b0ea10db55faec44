"""From the `model` config to a checkpoint: where its weights are, and what the record says of them."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any

from zeroshot.config.named import architecture, known_models, settings
from zeroshot.config.paths import PACKAGE, expand_path, home
from zeroshot.config.schema import Family, Model
from zeroshot.config.schema import Source as ConfigSource
from zeroshot.downloads.fetch import Source, fetch
from zeroshot.downloads.hub import fetch_repository, is_hub_name, is_present
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.files import FOLDER_FILES
from zeroshot.models.checkpoints.identity import file_digest, identify, identify_file
from zeroshot.models.checkpoints.load import Checkpoint, load
from zeroshot.models.checkpoints.settings import CONFIG_FILES, Settings
from zeroshot.models.siglip_tokenizer import FILES as TOKENIZER_FILES
from zeroshot.stages.dataset import OFFLINE

log = logging.getLogger(__name__)


def weights_path(model: Model) -> Path:
    """The model's weights on this machine: the user's own path, a file of this package, or a download.

    Raises:
        ZeroshotError: they are not there and can't be fetched, or the file that is there is another.
    """
    given = model.weights
    if given.path is not None:
        return _repository(given.path, model) if is_hub_name(given.path) else expand_path(given.path)
    if not given.sources:
        raise ZeroshotError(
            f"model={model.name} has no weights: set model.weights.path to a file or a folder; {OFFLINE}"
        )
    first = given.sources[0]
    if first.url.startswith(PACKAGE):
        return _file_of_package(first.url, first.sha256)
    if given.licence is not None and not local_weights(model):
        log.warning("%s: the licence of these weights is %s", model.name, given.licence)
    reasons = []
    for hub, neighbours in groupby(given.sources, key=lambda source: is_hub_name(source.url)):
        sources = list(neighbours)
        try:
            return _first_repository(sources, model) if hub else _first_file(sources, model.name)
        except ZeroshotError as error:
            reasons.append(str(error))
    raise ZeroshotError(f"model={model.name}: {'; '.join(reasons)}; or set model.weights.path to a file; {OFFLINE}")


def local_weights(model: Model) -> bool:
    """Whether the weights of a model's sources are on this machine, whole or not, without looking into them."""
    folder = home() / "weights"
    for source in model.weights.sources:
        if source.url.startswith(PACKAGE):
            return True
        if is_hub_name(source.url):
            if is_present(source.url, FOLDER_FILES, folder):
                return True
        elif (folder / model.name / Source(source.url, "").file_name).is_file():
            return True
    return False


def load_weights(model: Model) -> tuple[Checkpoint, dict[str, Any]]:
    """The model's weights, complete and of its sizes, and what the record says of the model.

    `assumed` in the record names the settings of the model that nothing confirms: neither the weights' digest, nor
    their own metadata, a config beside them or their name.

    Raises:
        ZeroshotError: they are missing, broken, of other sizes or trained with other settings.
    """
    path = weights_path(model)
    with ThreadPoolExecutor(1) as thread:  # hashing takes a second a gigabyte and leaves a core free
        hashing = thread.submit(file_digest, path)
        known = known_models()
        checkpoint = load(path, architecture(model), {name: architecture(each) for name, each in known.items()})
        digest = hashing.result()
    identity = _identity(model, digest, known) or identify(checkpoint.tensors)
    trained = settings(known[identity]) if identity in known else checkpoint.settings
    if model.weights.path is None:  # the sources and the settings are one YAML's
        trained = trained.completed(settings(model))
    _check_settings(path, trained, model, identity if identity in known else _repository_of(model, known))
    used = vars(settings(model))
    description = {
        "name": model.name,
        "image_size": model.image_size,
        "interpolation": model.interpolation.value,
        "score": model.score.value,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in used.items()},
        "assumed": [each.name for each in fields(Settings) if getattr(trained, each.name) is None],
        "weights": {"path": str(path), "sha256": digest, "format": checkpoint.format, "identity": identity},
    }
    return checkpoint, description


def _identity(model: Model, digest: str, known: Mapping[str, Model]) -> str | None:
    """The known model whose weights these are, by the digest of the file or by the repository that they came from."""
    for name, each in known.items():
        published = [source for source in each.weights.sources if not source.url.startswith(PACKAGE)]
        if digest in [source.sha256 for source in published]:
            return name
        address = [source.url for source in published if is_hub_name(source.url) and source.sha256 is None]
        if address and model.weights.path in (None, *address) and model.weights.sources == each.weights.sources:
            return name
    return identify_file(digest)


def _repository_of(model: Model, known: Mapping[str, Model]) -> str | None:
    """The known model that has its weights from the hub repository that the user named."""
    given = str(model.weights.path).partition("@")[0]
    return next(
        (
            name
            for name, each in known.items()
            if any(is_hub_name(given) and source.url.partition("@")[0] == given for source in each.weights.sources)
        ),
        None,
    )


def _check_settings(path: Path, trained: Settings, model: Model, named: str | None) -> None:
    """Refuses weights that were trained with other settings than the model's."""
    used = settings(model)
    wrong = {
        each.name: getattr(trained, each.name)
        for each in fields(Settings)
        if getattr(trained, each.name) not in (None, getattr(used, each.name))
    }
    if not wrong:
        return
    if named is not None and named != model.name:
        raise ZeroshotError(f"{path}: these are the weights of {named}: type model={named}")
    keys = " ".join(
        f"model.{name}={value}" if isinstance(value, str) else f"model.{name}='[{','.join(map(repr, value))}]'"
        for name, value in wrong.items()
    )
    raise ZeroshotError(f"{path} was trained with another {', '.join(wrong)}: type {keys}")


def _repository(name: str, model: Model) -> Path:
    beside = TOKENIZER_FILES if Family(model.family) is Family.siglip else ()
    return fetch_repository(name, FOLDER_FILES, (*CONFIG_FILES, *beside), home() / "weights", beside)


def _first_repository(sources: Sequence[ConfigSource], model: Model) -> Path:
    reasons = []
    for source in sources:
        try:
            path = _repository(source.url, model)
        except ZeroshotError as error:
            reasons.append(str(error))
            continue
        if source.sha256 is not None and (found := file_digest(path)) != source.sha256:
            raise ZeroshotError(f"{path} has another sha256 ({found[:12]}…, not {source.sha256[:12]}…): remove it")
        return path
    raise ZeroshotError("; ".join(reasons))


def _first_file(sources: Sequence[ConfigSource], name: str) -> Path:
    return fetch([Source(each.url, each.sha256 or "") for each in sources], home() / "weights" / name)


def _file_of_package(url: str, sha256: str | None) -> Path:
    path = expand_path(url)
    if not path.is_file():
        raise ZeroshotError(f"{path} is missing from this installation: install zeroshot-mindspore again")
    digest = file_digest(path)
    if sha256 is not None and digest != sha256:
        raise ZeroshotError(f"{path} was changed (sha256 {digest}, not {sha256}): install zeroshot-mindspore again")
    return path
