"""File names: `~` expanded; and as text that any file or terminal takes, in a way that can be reversed.

A name need not be UTF-8 (Python then has lone surrogates for its bytes) and may contain a newline. Escaped are the
backslash, control characters, Unicode's line separators and lone surrogates, as in a Python string: `\\\\`, `\\n`,
`\\x1b`, `\\udcff`.
"""

import os
import re
from pathlib import Path

_ESCAPED = re.compile(r"\\(\\|n|r|t|x[0-9a-f]{2}|u[0-9a-f]{4})")
_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path with `~` or `~user` at its beginning expanded; one that is no user's stays, as it may be a file's."""
    return Path(path if "\0" in os.fspath(path) else os.path.expanduser(path))


def escape(name: str) -> str:
    """The name without those characters; other names stay as they are."""
    return "".join(_SHORT.get(c) or _escape_character(c) for c in name)


def unescape(text: str) -> str:
    """The name that `escape` was given."""
    return _ESCAPED.sub(lambda found: _character(found[1]), text)


def _escape_character(c: str) -> str:
    code = ord(c)
    if code < 32 or 127 <= code < 160:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if 0xD800 <= code < 0xE000 or code in (0x2028, 0x2029) else c


def _character(escaped: str) -> str:
    plain = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}.get(escaped)
    return plain if plain is not None else chr(int(escaped[1:], 16))
