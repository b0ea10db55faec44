"""Class names × prompt templates → the texts that the model reads."""

from collections.abc import Sequence
from typing import Literal

from zeroshot.errors import ZeroshotError

PLACEHOLDER = "{}"

Spelling = Literal["spaces", "raw"]  # underscores of a class name become spaces, or stay


def spell(class_name: str, spelling: Spelling) -> str:
    """The class name as it enters a template."""
    return class_name.replace("_", " ") if spelling == "spaces" else class_name


def fill_templates(class_names: Sequence[str], templates: Sequence[str], spelling: Spelling = "spaces") -> list[str]:
    """Each class name in each template, class by class: `len(class_names) * len(templates)` texts.

    `{}` is replaced literally wherever it occurs; everything else in a template, other braces too, is text.

    Raises:
        ZeroshotError: a template has no `{}`.
    """
    for template in templates:
        if PLACEHOLDER not in template:
            raise ZeroshotError(f"prompt.templates: «{template}» has no {{}} where the class name goes: add one")
    names = [spell(name, spelling) for name in class_names]
    return [template.replace(PLACEHOLDER, name) for name in names for template in templates]
