"""Where files are: `conf/` and `experiments/`, the user's own paths, files inside the package, and `ZEROSHOT_HOME`."""

import os
from pathlib import Path

from zeroshot.data.file_names import expanded

PACKAGE = "package:"  # a path that begins so is inside the installed package

_PACKAGE_FOLDER = Path(__file__).resolve().parents[1]


def source_folder(name: str) -> Path:
    """The folder `conf` or `experiments`: inside an installed package, or beside it in a checkout."""
    installed = _PACKAGE_FOLDER / name
    return installed if installed.is_dir() else _PACKAGE_FOLDER.parent / name


def expand_path(text: str) -> Path:
    """A path as the user typed it, with `~` expanded where it is a user; `package:FILE` is a file of this package."""
    if text.startswith(PACKAGE):
        return _PACKAGE_FOLDER / text.removeprefix(PACKAGE)
    return expanded(text)


def register_home() -> None:
    """Registers the resolver of `home` in our YAML files with OmegaConf."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("zeroshot_home", lambda: str(home()), replace=True)


def home() -> Path:
    """The folder of downloaded weights and data and of stored image features: `$ZEROSHOT_HOME` or ~/.cache/zeroshot."""
    return expand_path(os.environ.get("ZEROSHOT_HOME") or "~/.cache/zeroshot")
