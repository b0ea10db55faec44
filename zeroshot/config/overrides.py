"""The command line's arguments: flags and overrides, each override checked against Hydra's grammar."""

import csv
import shlex
from collections.abc import Sequence
from itertools import pairwise

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from zeroshot.errors import ZeroshotError, double_quoted


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The flags, each with its value, and the overrides of a command line that mixes them."""
    takes_value = {
        option: action for action in get_args_parser()._actions if action.nargs != 0 for option in action.option_strings
    }
    flags: list[str] = []
    overrides: list[str] = []
    for argument in arguments:
        action = takes_value.get(flags[-1]) if flags else None
        is_value = action is not None and (action.choices is None or argument in action.choices)
        (flags if argument.startswith("-") or is_value else overrides).append(argument)
    return flags, overrides


def option(flags: Sequence[str], *names: str) -> str | None:
    """The value of a flag by its long and short names; None if it is not there."""
    return next((value for flag, value in pairwise(flags) if flag in names), None)


def check_overrides(overrides: Sequence[str]) -> None:
    """Checks that Hydra's grammar can read the overrides.

    Raises:
        ZeroshotError: the first that it can't read, with a spelling that it can.
    """
    parser = OverridesParser.create()
    for override in overrides:
        try:
            parser.parse_override(override)
        except HydraException as error:
            advice = f"type {quoted(override)}" if "=" in override else "type KEY=VALUE or GROUP=NAME; see --help"
            raise ZeroshotError(f"{override}: Hydra's grammar can't read this; {advice}") from error


def quoted(override: str) -> str:
    """An override with its value quoted, so that the shell and Hydra's grammar take it as text."""
    key, _, value = override.partition("=")
    value = value.strip()
    if value.startswith("[") and value.endswith("]"):
        items = next(csv.reader([value[1:-1]], skipinitialspace=True), [])
        text = "[" + ",".join(double_quoted(item.strip().strip("'")) for item in items) + "]"
    elif key.lstrip("+").endswith("templates"):  # a list even of one
        text = f"[{double_quoted(value)}]"
    else:
        text = double_quoted(value)
    argument = f"{key}={text}"
    if "'" in argument and not set(argument) & set("$`!\\"):
        return '"' + argument.replace('"', '\\"') + '"'
    return shlex.quote(argument)
