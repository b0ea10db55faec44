"""The command line's arguments: flags and overrides, each override checked against Hydra's grammar."""

import re
from collections.abc import Sequence
from dataclasses import fields

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from zeroshot.config.schema import Config
from zeroshot.errors import ZeroshotError, double_quoted, shell_quoted

GROUPS = [each.name for each in fields(Config)]

# an item of a list, quoted or not; items are separated by commas or, where a file was pasted, by line breaks
_ITEM = re.compile(r"""\s*("(?:\\.|[^"\\])*"(?=\s*(?:,|$))|'(?:\\.|[^'\\])*'(?=\s*(?:,|$))|[^,\n]*[^,\s])""")


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


def check_overrides(overrides: Sequence[str]) -> None:
    """Checks that Hydra's grammar can read the overrides, and that the choice of a group is a name.

    Raises:
        ZeroshotError: the first that it can't read, with a spelling that it can, or a choice that is no name; of a list
            Hydra would merge the files.
    """
    parser = OverridesParser.create()
    for override in overrides:
        try:
            parsed = parser.parse_override(override)
        except HydraException as error:
            advice = f"type {quoted(override)}" if "=" in override else "type KEY=VALUE or GROUP=NAME; see --help"
            raise ZeroshotError(f"{override}: Hydra's grammar can't read this; {advice}") from error
        group, value = parsed.key_or_group, parsed.value()
        if group not in GROUPS or isinstance(value, str | dict) or parsed.is_sweep_override():
            continue
        advice = "a name; see --help"
        if isinstance(value, list):
            advice = f"one choice: type -m {group}={','.join(map(str, value))} to run a job for each"
        raise ZeroshotError(f"{override}: {group} is {advice}")


def quoted(override: str) -> str:
    """An override with its value quoted, so that the shell and Hydra's grammar take it as text."""
    key, _, value = override.partition("=")
    value = value.strip()
    if value.startswith("[") and value.endswith("]"):
        text = "[" + ",".join(double_quoted(_unquoted(item)) for item in _ITEM.findall(value[1:-1])) + "]"
    elif key.lstrip("+").endswith("templates"):  # a list even of one
        text = f"[{double_quoted(value)}]"
    else:
        text = double_quoted(value)
    return shell_quoted(f"{key}={text}")


def _unquoted(item: str) -> str:
    """An item of a list without its quotes; a backslash escapes only before such a quote or at the end."""
    quote = item[:1]
    if quote not in ("'", '"') or len(item) < 2 or not item.endswith(quote):
        return item.strip()
    return re.sub(rf"(\\+)({quote}|$)", lambda found: found[1][: len(found[1]) // 2] + found[2], item[1:-1])
