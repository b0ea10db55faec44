"""Class names × prompt templates → the texts that the model reads."""

from collections.abc import Sequence

from zeroshot.errors import ZeroshotError

PLACEHOLDER = "{}"


def fill(classes: Sequence[str], templates: Sequence[str], class_names: str) -> list[str]:
    """Each class in each template, class by class: `len(classes) * len(templates)` texts.

    With `class_names="spaces"` underscores in names become spaces, with "raw" they stay. `{}` is replaced literally,
    wherever it stands; all else in a template, braces too, is text.

    Raises:
        ZeroshotError: a template holds no `{}`.
    """
    for template in templates:
        if PLACEHOLDER not in template:
            raise ZeroshotError(f"prompt.templates: «{template}» has no {{}} where the class name goes: put one in")
    names = [name.replace("_", " ") if class_names == "spaces" else name for name in classes]
    return [template.replace(PLACEHOLDER, name) for name in names for template in templates]
