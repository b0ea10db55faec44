"""One HTML file from a template: style and script inlined, all text escaped, no address that a browser would ask."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from zeroshot import __version__


def render(template: str, context: Mapping[str, Any]) -> str:
    """The page of a template in `templates/`.

    A policy in the page lets a browser load nothing from anywhere, and run this package's own script alone.
    """
    style, script = _own("page.css"), _own("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        _environment()
        .get_template(template)
        .render(
            context,
            style=Markup(style),  # a file of this package
            script=Markup(script),
            script_digest=f"sha256-{digest}",
            version=__version__,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("zeroshot.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "signed": signed,
        "count": count,
        "seconds": seconds,
        "href": quote,
        "moment": moment,
        "decimal": decimal,
        "breakable": breakable,
    }
    return environment


@cache
def _own(name: str) -> str:
    return files("zeroshot.report").joinpath(name).read_text(encoding="utf-8")


def percent(share: float | None, digits: int = 2) -> str:
    """A share of 1 in percent, without the sign."""
    return "–" if share is None else f"{100 * share:.{digits}f}"


def signed(share: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return "–" if share is None else f"{100 * share:+.2f}".replace("-", "−")


def count(number: int | None) -> str:
    """A whole number, its thousands apart."""
    return "–" if number is None else f"{number:,}"


def seconds(duration: float | None) -> str:
    """A duration for people."""
    if duration is None:
        return "–"
    if duration < 60:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def decimal(number: float | None) -> str:
    """A number with one decimal; none where nothing was measured, such as images a second when all were stored."""
    return "–" if number is None else f"{number:.1f}"


def moment(iso: str | None) -> str:
    """An ISO time to the minute."""
    return "–" if not iso else iso[:16].replace("T", " ")


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores."""
    return Markup("_<wbr>").join(name.split("_"))  # which escapes the parts
