"""From the `model` and `device` config to an encoder on its device, kept from one job of a sweep to the next."""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from zeroshot.config.named import architecture, preprocessing
from zeroshot.config.paths import home
from zeroshot.config.schema import Device, Language, Model, Score
from zeroshot.errors import ZeroshotError
from zeroshot.features.key import feature_key
from zeroshot.features.store import FeatureStore
from zeroshot.interrupts import uninterrupted
from zeroshot.models.architecture import Tensors
from zeroshot.models.checkpoints.files import shards, weights_file
from zeroshot.models.checkpoints.load import Checkpoint
from zeroshot.models.tokenizer import EOT, SOT
from zeroshot.runs.record import versions
from zeroshot.scoring.classifier import Templates
from zeroshot.scoring.labels import ONE_LABEL, check_tokens, few_letters
from zeroshot.scoring.prompts import fill_templates
from zeroshot.stages.tokenizers import describe_tokenizer, load_tokenizer, tokenizer_digest
from zeroshot.stages.weights import load_weights, weights_path

if TYPE_CHECKING:
    from zeroshot.devices.pool import EncoderPool
    from zeroshot.devices.worker import Facts
    from zeroshot.models.encoder import Encoder

WORDS_IN_WARNING = 10

log = logging.getLogger(__name__)


@dataclass
class LoadedModel:
    """An encoder on its device, its checkpoint without the weights, and what the record says of model and device.

    `config` is the model's.
    """

    config: Model
    encoder: "Encoder | EncoderPool"
    checkpoint: Checkpoint
    model: dict[str, Any]
    device: dict[str, Any]


_guard = threading.Lock()
_last: tuple[Any, LoadedModel] | None = None  # jobs of a sweep often share a model and differ in their prompts


def load_model(model: Model, device: Device) -> LoadedModel:
    """The model on its device; the one of the last call where config and files are the same.

    Raises:
        ZeroshotError: the weights or the device can't be used.
    """
    global _last
    path = weights_file(weights_path(model))
    files = [(file, file.stat()) for file in shards(path)]
    states = [(file, status.st_size, status.st_mtime_ns) for file, status in files]
    key = repr((model, device, states, tokenizer_digest(model, path)))
    with _guard:
        if _last is None or _last[0] != key:
            if _last is not None:
                from zeroshot.models.encoder import release

                _last = None  # first, as there may be no room for two
                release()
            _last = key, load_new_model(model, device)
        return _last[1]


def load_new_model(model: Model, device: Device) -> LoadedModel:
    """The model, its weights read and on the device.

    Raises:
        ZeroshotError: the weights or the device can't be used.
    """
    if "MS_ROLE" in os.environ:
        raise ZeroshotError(
            "msrun started this process (MS_ROLE is set), and each of its processes would do the whole run: "
            "start one without msrun, with device.count=N for N devices"
        )
    checkpoint, model_description = load_weights(model)
    tokenizer = load_tokenizer(model, checkpoint.path)
    model_description |= describe_tokenizer(model, checkpoint.path)
    with uninterrupted():  # only now: MindSpore takes seconds to load, and mistakes come first
        from zeroshot.devices import target as devices

        prepared = devices.prepare(device.target.value, device.id, device.dtype.value)
        from zeroshot.models.encoder import Encoder

    alone = device.count == 1
    encoder = Encoder(
        architecture(model),
        checkpoint.tensors if alone else _scale(checkpoint.tensors),
        preprocessing(model),
        target=prepared.target,
        dtype=prepared.dtype,
        activation=model.activation.value,
        batch_size=device.batch_size,
        workers=device.workers,
        tokenizer=tokenizer,
        score=model.score.value,
    )
    loaded = LoadedModel(
        model,
        encoder,
        replace(checkpoint, tensors={}),
        model_description,
        {"target": prepared.target, "dtype": prepared.dtype, "batch_size": encoder.batch_size, "world_size": 1},
    )
    if not alone:
        from zeroshot.devices import pool

        build = partial(_encoder_of_worker, model, replace(device, id=0, batch_size=encoder.batch_size, count=1))
        facts = _facts(model, loaded)
        loaded.encoder = pool.EncoderPool(build, encoder, facts, prepared.target, device.count, device.cluster)
        loaded.device["world_size"] = loaded.encoder.count
    return loaded


def _scale(tensors: Tensors) -> Tensors:
    """What an encoder that encodes nothing needs of the weights."""
    return {name: tensors[name] for name in ("logit_scale", "logit_bias") if name in tensors}


def _encoder_of_worker(model: Model, device: Device) -> "tuple[Encoder, Facts]":
    loaded = load_new_model(model, device)
    return cast("Encoder", loaded.encoder), _facts(model, loaded)


def _facts(model: Model, loaded: LoadedModel) -> "Facts":
    """On what features of images and texts depend."""
    return _feature_key(model, loaded) | {"tokenizer": loaded.model.get("tokenizer", {}).get("sha256")}


def describe_device(loaded: LoadedModel) -> dict[str, Any]:
    """What the record says of the device: of several workers also the kinds of processors that took part."""
    kinds = sorted(getattr(loaded.encoder, "processors", ()))
    return loaded.device | ({"processors": kinds} if kinds else {})


def feature_store(model: Model, loaded: LoadedModel) -> FeatureStore:
    """The store of image features of this model on this device."""
    return FeatureStore(home() / "features", _feature_key(model, loaded), loaded.encoder.architecture.embed_dim)


def _feature_key(model: Model, loaded: LoadedModel) -> dict[str, Any]:
    encoder, weights = loaded.encoder, loaded.model["weights"]["sha256"]
    return feature_key(
        encoder.architecture, model.activation.value, encoder.preprocessing, weights, loaded.device, versions()
    )


def check_texts(loaded: LoadedModel, labels: Sequence[str], templates: Templates, what: str = "labels") -> None:
    """Refuses labels with the same tokens, and logs what else makes labels hard to score.

    That is one label alone, another script than the model reads, and words it never saw.

    Raises:
        ZeroshotError: labels have the same tokens, or a text is too long.
    """
    check_tokens(labels, *templates, loaded.encoder.tokenizer.ids)
    if len(labels) == 1 and loaded.config.score is Score.softmax:
        log.warning(ONE_LABEL)
    warn_of_language(loaded.config, labels, what)
    warn_of_language(
        loaded.config, [template.replace("{}", "") for template in templates.templates], "prompt templates"
    )
    warn_of_untrained_words(loaded, fill_templates(labels, *templates))


def warn_of_language(model: Model, texts: Sequence[str], what: str) -> None:
    """Logs a warning if most letters of the texts are of another script than that of the model's language."""
    if model.language is Language.English and few_letters(texts, "LATIN"):
        log.warning(
            "few letters of the %s are Latin, and %s reads English: expect little of it here; for Chinese type %s",
            what, model.name, "model=chinese_clip_vit_b_16 prompt=chinese_cifar",
        )  # fmt: skip
    if model.language is Language.Chinese and few_letters(texts, "CJK"):
        log.warning(
            "few letters of the %s are Chinese, and %s reads Chinese: expect little of it here; %s",
            what, model.name, "type prompt=chinese_cifar and Chinese labels, or model=clip_vit_b_16 for English",
        )  # fmt: skip


def warn_of_untrained_words(loaded: LoadedModel, texts: Sequence[str]) -> None:
    """Logs one warning that names the words of the texts whose embeddings the checkpoint does not hold, if any."""
    if loaded.checkpoint.token_ids is None:
        return
    known = {SOT, EOT, *loaded.checkpoint.token_ids.tolist()}
    encode = loaded.encoder.tokenizer.encode
    words = dict.fromkeys(word for text in dict.fromkeys(texts) for word in text.split())
    unknown = [word for word in words if not known.issuperset(encode(word))]
    if unknown:
        rest = len(unknown) - WORDS_IN_WARNING
        listed = ", ".join(unknown[:WORDS_IN_WARNING]) + (f" and {rest} more" if rest > 0 else "")
        log.warning("%s was not trained on these words: %s", loaded.model["name"], listed)
