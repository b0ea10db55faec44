"""Composition of a run's config by Hydra, for callers from Python and for the command line's error messages."""

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from zeroshot.config.explain import explain
from zeroshot.config.named import name_own_choices, names
from zeroshot.config.paths import expand_path, register_home, source_folder
from zeroshot.config.schema import Config
from zeroshot.config.validate import resolved
from zeroshot.errors import ZeroshotError, double_quoted

NAME = re.compile(r"[\w.@+-]+")

_guard = threading.Lock()  # Hydra's state is global to the process


def register() -> None:
    """Registers the schema, the experiments and the resolver of our YAML files with Hydra and OmegaConf."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    # --help lists 40 groups, and Hydra would copy the whole store for each; what is loaded from it is copied anyway
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    store.store(name="schema", node=Config)
    for path in source_folder("experiments").glob("*.yaml"):
        store.store(group="experiment", name=path.stem, package="_global_", node=OmegaConf.load(path))
    register_home()


def compose(
    choices: Mapping[str, str], values: Mapping[str, Any], config_dir: str | Path | None = None
) -> dict[str, Any]:
    """The resolved config that the command line would compose.

    Args:
        choices: the names of `model`, `dataset`, `prompt`, `device` and `stage`, ours or those in `config_dir`.
        values: what replaces single keys (`model.interpolation`) or whole groups (`model`), None for what stays.
        config_dir: a folder as for `--config-dir`.

    Raises:
        ZeroshotError: a choice does not exist, or its file can't be read or composed.
    """
    overrides = []
    for group, name in choices.items():
        if not NAME.fullmatch(name):
            known = ", ".join(names(group))
            raise ZeroshotError(f"{group}={name} does not exist; choose one of {known}, or give config_dir=FOLDER")
        overrides.append(f"{group}={double_quoted(name)}")  # a name may be a number
    if config_dir is not None:
        folder = expand_path(str(config_dir))
        if not folder.is_dir():
            raise ZeroshotError(f"config_dir={config_dir} is not a folder: give one that holds model/ or prompt/")
        check_own_names(choices, folder)
        overrides.append(f"hydra.searchpath=[{double_quoted(f'file://{folder.absolute()}')}]")
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    with _guard:
        register()
        try:
            with initialize_config_dir(str(source_folder("conf")), job_name="zeroshot", version_base="1.3"):
                config = resolved(hydra_compose("config", overrides))
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            raise ZeroshotError(explain(error, own_folder="config_dir=FOLDER")) from error
    for key, value in values.items():
        if value is not None:
            *groups, last = key.split(".")
            node = config
            for group in groups:
                node = node[group]
            node[last] = value
    name_own_choices(config)
    return config


def check_own_names(choices: Mapping[str, str], folder: Path) -> None:
    """Refuses a choice of which both `conf/` and the user's own folder have a file: Hydra would take ours in silence.

    Raises:
        ZeroshotError: there is such a choice.
    """
    for group, name in choices.items():
        own = folder / group / f"{name}.yaml"
        if own.is_file() and (source_folder("conf") / group / f"{name}.yaml").is_file():
            raise ZeroshotError(f"{own}: {group}={name} is also in conf/: give yours another name")
