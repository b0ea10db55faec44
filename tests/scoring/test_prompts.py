"""Class names in templates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeroshot.errors import ZeroshotError
from zeroshot.scoring.prompts import fill_templates


def test_texts_come_class_by_class() -> None:
    assert fill_templates(["cat", "oak_tree"], ["a {}.", "the {}."], "spaces") == [
        "a cat.",
        "the cat.",
        "a oak tree.",
        "the oak tree.",
    ]


def test_raw_names_keep_their_underscores() -> None:
    assert fill_templates(["oak_tree"], ["a picture of {}"], "raw") == ["a picture of oak_tree"]


@pytest.mark.parametrize("template", ["{0} {}", "{name} {}", "{{}}", "100 % {} \\n", "${a} {}"])
def test_only_the_placeholder_is_replaced(template: str) -> None:
    assert fill_templates(["cat"], [template], "raw") == [template.replace("{}", "cat")]


@given(st.text(), st.text())
def test_any_name_enters_as_it_is(name: str, around: str) -> None:
    around = around.replace("{}", "")
    assert fill_templates([name], [around + "{}"], "raw") == [(around + "{}").replace("{}", name)]


def test_a_template_without_a_placeholder_is_refused() -> None:
    with pytest.raises(ZeroshotError, match=r"prompt\.templates: «a photo» has no \{\}"):
        fill_templates(["cat"], ["a {}.", "a photo"], "spaces")
