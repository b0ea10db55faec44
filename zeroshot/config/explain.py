"""The errors of Hydra and OmegaConf as one line that says what to type instead."""

import re
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, get_type_hints

from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from zeroshot.config.schema import DATASETS, STAGES, Config

OTHER_WORDS = {"cuda": "gpu", "npu": "ascend", "evaluate": "eval", "classify": "predict", "imagefolder": "image_folder"}

_MISSING_CHOICE = re.compile(r"Could not find '([^']+)/([^'/]+)'(?:.*?Available options in '[^']+':\n(.*))?", re.DOTALL)
_AMBIGUOUS = re.compile(r"Ambiguous value for argument '([^=]+)=(.*?)'\n", re.DOTALL)


def explain(error: Exception, group: str = "", own_folder: str = "--config-dir FOLDER") -> str:
    """What is wrong with a config that could not be composed or checked, in one line.

    `group` is the part of the config to which the error's keys are relative; `own_folder` is how the caller names a
    folder of choices of the user's own.
    """
    message = str(error)
    if isinstance(error, YAMLError):
        return f"a config file can't be read as YAML: {message}"
    if found := _MISSING_CHOICE.search(message):
        choice_group, name, options = found.groups()
        known = re.findall(r"^\t(\S+)$", options or "", re.MULTILINE)
        return (
            f"{choice_group}={name} does not exist{did_you_mean(name, known, f'{choice_group}=')}"
            f"; choose one of {', '.join(known)}, or give {own_folder} with {choice_group}/{name}.yaml"
        )
    if found := _AMBIGUOUS.search(message):
        key, value = found.groups()
        as_list = f"type {key}='[{value}]' for a list, or " if "." in key else ""  # a group takes one choice
        return f"{key}={value} has a comma: {as_list}add -m to run a job for each"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    key = str(getattr(cause, "full_key", None) or "")
    if group and not key.startswith(f"{group}."):
        key = f"{group}.{key}"
    reason = str(getattr(cause, "msg", None) or cause).split("\n")[0]
    if re.search(r"Key '.*' (is )?not in", reason):
        return f"{key} is not a key{did_you_mean(key, known_keys())}; --cfg job prints all keys"
    if "missing" in reason.lower() and key:
        return f"{key} has no value: type {key}=VALUE"
    if key and key not in reason:
        return f"{key}: {reason}"
    return " ".join(reason.split()) or type(error).__name__


def did_you_mean(word: str, known: list[str], before: str = "") -> str:
    """`: did you mean …?` where a known word is near, else an empty text."""
    near = get_close_matches(word, known, n=1, cutoff=0.6)
    if OTHER_WORDS.get(word.lower()) in known:
        near = [OTHER_WORDS[word.lower()]]
    return f": did you mean {before}{near[0]}?" if near else ""


def known_keys() -> list[str]:
    """Every key of the config, with those of all kinds of data sets and all stages."""
    found = set(_keys(Config, ""))
    for kind in DATASETS.values():
        found |= set(_keys(kind, "dataset."))
    for stage in STAGES.values():
        found |= set(_keys(stage, "stage."))
    return sorted(found)


def _keys(schema: Any, prefix: str) -> list[str]:
    hints = get_type_hints(schema)
    found = []
    for field in fields(schema):
        found.append(prefix + field.name)
        if is_dataclass(hints[field.name]):
            found += _keys(hints[field.name], f"{prefix}{field.name}.")
    return found
