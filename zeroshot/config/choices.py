"""The choices that `conf/` offers, by name, for those who come without Hydra."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from zeroshot.config.paths import expand_path, register_home, source_folder
from zeroshot.errors import ZeroshotError

SELF = "_self_"


def names(group: str, config_dir: str | Path | None = None) -> list[str]:
    """The names of a group's choices, sorted: ours, and those of the user's folder."""
    return sorted({path.stem for folder in _folders(config_dir) for path in (folder / group).glob("*.yaml")})


def choice(group: str, name: str, config_dir: str | Path | None = None) -> dict[str, Any]:
    """What the YAML of a choice says, `defaults` of its own group followed, interpolations done but in prompts.

    Raises:
        ZeroshotError: there is no such choice, or two, or its file can't be read.
    """
    found = [path for folder in _folders(config_dir) if (path := folder / group / f"{name}.yaml").is_file()]
    if not found:
        known = ", ".join(names(group, config_dir))
        raise ZeroshotError(
            f"{group}={name} is not one of {known}: choose one, or give config_dir=FOLDER with {group}/{name}.yaml"
        )
    if len(found) > 1:
        raise ZeroshotError(f"{found[1]}: {group}={name} is one of ours too: call yours by another name")
    return read(found[0], group, config_dir)


def read(path: Path, group: str, config_dir: str | Path | None = None) -> dict[str, Any]:
    """What one YAML of a group says, as `choice` gives it."""
    register_home()
    try:
        loaded = OmegaConf.load(path)
        if not isinstance(loaded, DictConfig):
            raise ZeroshotError(f"{path} holds no keys of {group}: give KEY: VALUE in each line")
        defaults = loaded.pop("defaults", [SELF])
        said: Any = OmegaConf.to_container(loaded, resolve=group != "prompt")
    except ZeroshotError:
        raise
    except Exception as error:  # YAML's own errors, OmegaConf's and the system's
        raise ZeroshotError(f"{path} can't be read ({error})") from error
    merged: dict[str, Any] = {}
    for default in defaults if SELF in defaults else [*defaults, SELF]:
        if not isinstance(default, str) or default == path.stem:
            raise ZeroshotError(f"{path}: defaults are names of conf/{group} alone, and {SELF}; «{default}» is none")
        merged = _merged(merged, said if default == SELF else choice(group, default, config_dir))
    return merged


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {key for key in below.keys() & above.keys() if isinstance(below[key], dict) and isinstance(above[key], dict)}
    return below | above | {key: _merged(below[key], above[key]) for key in both}


def _folders(config_dir: str | Path | None) -> list[Path]:
    ours = source_folder("conf")
    if config_dir is None:
        return [ours]
    own = expand_path(str(config_dir))
    if not own.is_dir():
        raise ZeroshotError(f"config_dir={config_dir} is no folder: give one that holds model/, dataset/ or prompt/")
    return [ours, own]
