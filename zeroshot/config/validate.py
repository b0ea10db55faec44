"""A composed config → a checked one: interpolations resolved, every key typed, present and in its bounds."""

import copy
import math
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zeroshot.config.explain import explain
from zeroshot.config.named import architecture, name_own_choices
from zeroshot.config.schema import DATASETS, STAGES, Config, Device, Family, Model, Predict, Prompt, Report, Score
from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import (
    BERT_POSITIONS,
    BERT_VOCABULARY,
    CONTEXT_LENGTH,
    VOCABULARY,
    Architecture,
)

USER_TEXTS = (("prompt", "templates"), ("stage", "images"), ("stage", "labels"))
GROUPS = {"model": Model, "prompt": Prompt, "device": Device}
TOKENIZERS = {  # tokens, and those of a text at most; SigLIP's is a file, which is checked when it is read
    Family.clip: (VOCABULARY, CONTEXT_LENGTH),
    Family.chinese_clip: (BERT_VOCABULARY, BERT_POSITIONS),
}
OPTIONAL_SIZES = ("vision_heads", "text_heads", "vision_mlp_width", "text_mlp_width")


def resolved(composed: DictConfig) -> dict[str, Any]:
    """The composed config as plain values: our files' interpolations are resolved, those in the user's texts are kept.
    Data sets and prompts of the user's own are named by what they are.

    Raises:
        ZeroshotError: an interpolation can't be resolved.
    """
    plain: Any = OmegaConf.to_container(composed, resolve=False, enum_to_str=True)
    texts = _take_texts(plain)
    try:
        config: Any = OmegaConf.to_container(OmegaConf.create(plain), resolve=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise ZeroshotError(explain(error)) from error
    for (group, key), text in texts.items():
        config[group][key] = text
    name_own_choices(config)
    return config  # type: ignore[no-any-return]


def checked(config: dict[str, Any]) -> Config:
    """The resolved config as dataclasses.

    Raises:
        ZeroshotError: a key is missing, unknown, of a wrong type or out of its bounds; the line names it.
    """
    plain = copy.deepcopy(config)
    texts = _take_texts(plain)
    plain["dataset"] = _typed(plain, "dataset", DATASETS, "kind")
    plain["stage"] = _typed(plain, "stage", STAGES, "name")
    for group, schema in GROUPS.items():
        if not isinstance(plain.get(group), dict):
            raise ZeroshotError(f"{group} has no keys: choose one with {group}=NAME")
        plain[group] = _merged(schema, plain[group], group)
    built = Config(**{group: plain[group] for group in (*GROUPS, "dataset", "stage")})
    for (group, key), text in texts.items():
        setattr(getattr(built, group), key, text)
    _check_model(built.model)
    _check_device(built.device)
    _check_prompt(built.prompt)
    limit = built.dataset.limit
    _check(limit is None or limit >= 1, "dataset.limit", limit, "give 1 or more, or null for all images")
    if isinstance(built.stage, Predict):
        _check_predict(built.stage)
    if isinstance(built.stage, Report):
        _check_report(built.stage)
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
    if not isinstance(kind, str) or kind not in kinds:
        raise ZeroshotError(f"{group}.{key}={kind} is not one of {', '.join(kinds)}: choose one with {group}=NAME")
    return _merged(kinds[kind], node, group)


def _merged(schema: type, node: Any, group: str) -> Any:
    """The dataclass `schema` with the values of a group."""
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), node))
    except OmegaConfBaseException as error:
        for key, value in node.items():  # a list instead of a mapping is reported without its key
            try:
                OmegaConf.merge(OmegaConf.structured(schema), {key: value})
            except OmegaConfBaseException as cause:
                if not getattr(cause, "full_key", None):
                    raise ZeroshotError(f"{group}.{key}={value} can't be used: {cause.msg}") from error
        raise ZeroshotError(explain(error, group=group)) from error


def _check_model(model: Model) -> None:
    for name in [each for each in Architecture.__dataclass_fields__ if each != "family"]:
        size = getattr(model, name)
        optional = name in OPTIONAL_SIZES
        _check(size is None if optional and size is None else size >= 1, f"model.{name}", size, "give 1 or more")
    multiple = f"it must be a multiple of model.patch_size={model.patch_size}"
    siglip = model.family is Family.siglip  # which leaves out pixels that do not fill a patch
    fits = siglip or model.image_size % model.patch_size == 0
    _check(fits, "model.image_size", model.image_size, multiple)
    if model.family in TOKENIZERS:
        vocabulary, longest = TOKENIZERS[model.family]
        whose = f"the tokenizer of {model.family.value}"
        _check(model.vocabulary == vocabulary, "model.vocabulary", model.vocabulary, f"{whose} has {vocabulary}")
        length = model.context_length
        _check(length <= longest, "model.context_length", length, f"{model.family.value} reads {longest} at most")
    sizes = architecture(model)
    same = not siglip or model.embed_dim == model.vision_width
    _check(same, "model.embed_dim", model.embed_dim, "SigLIP has no projection: it must be model.vision_width")
    sigmoid = model.score is Score.sigmoid
    _check(
        siglip or not sigmoid, "model.score", model.score.value, "it needs the bias of SigLIP: type model.score=softmax"
    )
    _check(
        siglip == (model.pad_token is not None), "model.pad_token", model.pad_token,
        "name the token with which SigLIP's texts are filled up, </s> or <pad>; null for every other family",
    )  # fmt: skip
    for tower, width, heads in (
        ("vision", sizes.vision_width, model.vision_heads),
        ("text", sizes.text_width, model.text_heads),
    ):
        remedy = (
            "it must be a multiple of 64" if heads is None else f"it must be a multiple of model.{tower}_heads={heads}"
        )
        _check(width % (heads or 64) == 0, f"model.{tower}_width", width, remedy)
    for key, values in (("mean", model.mean), ("std", model.std)):
        numbers = [value for value in values if isinstance(value, float) and math.isfinite(value)]
        holds = len(values) == len(numbers) == 3 and (key == "mean" or min(numbers) > 0)
        _check(holds, f"model.{key}", values, "give three numbers, for red, green and blue, as fractions of 1")


def _check_device(device: Device) -> None:
    _check(device.id >= 0, "device.id", device.id, "give 0 or more")
    _check(
        device.batch_size is None or device.batch_size >= 1, "device.batch_size", device.batch_size, "give 1 or more"
    )
    _check(device.workers >= 1, "device.workers", device.workers, "give 1 or more")
    number = type(device.count) is int and device.count >= 1
    _check(number or device.count == "all", "device.count", device.count, "give 1 or more, or all")


def _check_prompt(prompt: Prompt) -> None:
    templates = prompt.templates
    remedy = "give a list such as prompt.templates='[\"a photo of a {}.\"]'"
    _check(isinstance(templates, list) and bool(templates), "prompt.templates", templates, remedy)
    for template in templates:
        _check(isinstance(template, str), "prompt.templates", template, "it is not text: quote it")


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
            _check(isinstance(item, str), key, item, "it is not text: quote it")
    if (stage.labels is None) == (stage.labels_file is None):
        raise ZeroshotError(
            "give the candidate labels with stage.labels='[cat,dog]' or stage.labels_file=FILE, one of them"
        )


def _check_report(stage: Report) -> None:
    for key in ("model", "dataset", "prompt"):
        names = getattr(stage, key)
        names = [names] if isinstance(names, str) else names
        setattr(stage, key, names)
        _check(isinstance(names, list | None), f"stage.{key}", names, "give a name or a list of names")
        for name in names or []:
            _check(isinstance(name, str), f"stage.{key}", name, "it is not text: quote it")
    pair = stage.compare
    two = isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair)
    _check(pair is None or two, "stage.compare", pair, "give two run folders, stage.compare='[FOLDER,FOLDER]'")


def _check(holds: bool, key: str, value: object, remedy: str) -> None:
    if not holds:
        raise ZeroshotError(f"{key}={value} can't be used: {remedy}")
