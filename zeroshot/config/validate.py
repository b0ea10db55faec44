"""A composed config → a checked one: typed, resolved, in its bounds; mistakes are told by their key."""

import copy
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zeroshot.config.schema import DATASETS, STAGES, Config, Model, Predict, Report
from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import HEAD_WIDTH, Architecture

USER_TEXTS = (("prompt", "templates"), ("stage", "images"), ("stage", "labels"))


def resolved(composed: DictConfig) -> dict[str, Any]:
    """The composed config as plain values, with the interpolations of our files done and those in user text left alone.

    Raises:
        ZeroshotError: an interpolation can't be resolved.
    """
    plain: Any = OmegaConf.to_container(composed, resolve=False, enum_to_str=True)
    texts = _take_texts(plain)
    try:
        config: Any = OmegaConf.to_container(OmegaConf.create(plain), resolve=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise ZeroshotError(_readable(error)) from error
    for (group, key), text in texts.items():
        config[group][key] = text
    return config  # type: ignore[no-any-return]


def checked(config: dict[str, Any]) -> Config:
    """The resolved config with every key typed, present and in its bounds.

    Raises:
        ZeroshotError: a key is missing, of a wrong type, out of its bounds, or not one of its kind's.
    """
    plain = copy.deepcopy(config)
    texts = _take_texts(plain)
    plain["dataset"] = _typed(plain, "dataset", DATASETS, "kind")
    plain["stage"] = _typed(plain, "stage", STAGES, "name")
    try:
        built = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    except OmegaConfBaseException as error:
        raise ZeroshotError(_readable(error)) from error
    assert isinstance(built, Config)
    for (group, key), text in texts.items():
        setattr(getattr(built, group), key, text)
    _check_sizes(built.model)
    batch_size, workers = built.device.batch_size, built.device.workers
    _check(batch_size is None or batch_size >= 1, "device.batch_size", batch_size, "give 1 or more, or null")
    _check(workers >= 1, "device.workers", workers, "give 1 or more")
    if (limit := built.dataset.limit) is not None:
        _check(limit >= 1, "dataset.limit", limit, "give 1 or more, or null for all images")
    if isinstance(built.stage, Predict):
        _check_predict(built.stage)
    if isinstance(built.stage, Report):
        _check_report(built.stage)
    templates = built.prompt.templates
    _check(isinstance(templates, list) and bool(templates), "prompt.templates", templates, "give a list such as ['{}']")
    for template in templates:
        _check(isinstance(template, str), "prompt.templates", template, "it is not a text: quote it")
    return built


def _take_texts(config: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """Takes the user's own texts out of a config: `${…}` in them is text, not an interpolation."""
    return {
        (group, key): config[group].pop(key)
        for group, key in USER_TEXTS
        if isinstance(config.get(group), dict) and key in config[group]
    }


def _typed(config: dict[str, Any], group: str, kinds: dict[str, type], key: str) -> Any:
    node = config.get(group)
    kind = node.get(key) if isinstance(node, dict) else None
    if kind not in kinds:
        raise ZeroshotError(f"{group}.{key}={kind} is not one of {', '.join(kinds)}: choose one with {group}=NAME")
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kinds[kind]), node))
    except OmegaConfBaseException as error:
        raise ZeroshotError(_readable(error, group)) from error


def _check_sizes(model: Model) -> None:
    for name in Architecture.__dataclass_fields__:
        _check(getattr(model, name) >= 1, f"model.{name}", getattr(model, name), "give 1 or more")
    _check(
        model.image_size % model.patch_size == 0,
        "model.image_size",
        model.image_size,
        f"it must be a multiple of model.patch_size={model.patch_size}",
    )
    for key in ("vision_width", "text_width"):
        _check(
            getattr(model, key) % HEAD_WIDTH == 0,
            f"model.{key}",
            getattr(model, key),
            f"it must be a multiple of {HEAD_WIDTH}",
        )


def _check_predict(stage: Predict) -> None:
    _check(stage.top_k >= 1, "stage.top_k", stage.top_k, "give 1 or more")
    if stage.images is None:
        raise ZeroshotError(
            "stage.images: give a file, a folder, a glob, a URL or a list of them with stage.images=PATH"
        )
    stage.images = [stage.images] if isinstance(stage.images, str) else stage.images
    for key, items in (("stage.images", stage.images), ("stage.labels", stage.labels)):
        _check(isinstance(items, list | None), key, items, f"give a list, {key}='[…,…]'")
        for item in items or []:
            _check(isinstance(item, str), key, item, "it is not a text: quote it")
    if (stage.labels is None) == (stage.labels_file is None):
        raise ZeroshotError(
            "give the candidate labels with stage.labels='[cat,dog]' or stage.labels_file=FILE, one of them"
        )


def _check_report(stage: Report) -> None:
    for key in ("model", "dataset", "prompt"):
        names = getattr(stage, key)
        setattr(stage, key, [names] if isinstance(names, str) else names)
        for name in getattr(stage, key) or []:
            _check(isinstance(name, str), f"stage.{key}", name, "it is not a text: quote it")
    pair = stage.compare
    two = isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair)
    _check(pair is None or two, "stage.compare", pair, "give two run folders, stage.compare='[FOLDER,FOLDER]'")


def _check(holds: bool, key: str, value: object, remedy: str) -> None:
    if not holds:
        raise ZeroshotError(f"{key}={value} can't be used: {remedy}")


def _readable(error: OmegaConfBaseException, group: str | None = None) -> str:
    key = getattr(error, "full_key", None) or ""
    if group and not key.startswith(group):
        key = f"{group}.{key}"
    reason = str(error.msg if hasattr(error, "msg") and error.msg else error).split("\n")[0]
    remedy = "" if "issing mandatory" not in reason else f": give it with {key}=…"
    return f"{key}: {reason}{remedy}"
