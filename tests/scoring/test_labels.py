"""Labels are parsed strictly, and texts that the model reads as equal are found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeroshot.errors import ZeroshotError
from zeroshot.models.chinese_tokenizer import ChineseTokenizer
from zeroshot.models.tokenizer import Tokenizer
from zeroshot.scoring.labels import (
    check_distinct,
    check_tokens,
    equal_classes,
    few_letters,
    parse_labels,
    parse_top_k,
    read_labels,
)

CAT_DOG = ["cat", "dog"]


class Column:
    """As a pandas column: iterable, not a sequence."""

    def __iter__(self) -> Any:
        return iter(CAT_DOG)


@pytest.mark.parametrize(
    "labels",
    [CAT_DOG, tuple(CAT_DOG), (label for label in CAT_DOG), np.array(CAT_DOG), Column()],
    ids=["list", "tuple", "generator", "array", "column"],
)
def test_any_ordered_collection_of_text_is_a_list_of_labels(labels: Any) -> None:
    found = parse_labels(labels, "labels")
    assert found == CAT_DOG
    assert {type(label) for label in found} == {str}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("cat", "of type str"),
        (b"cat", "of type bytes"),
        ({"cat", "dog"}, "of type set"),
        ({"cat": 1}, "of type dict"),
        (5, "of type int"),
        (None, "of type NoneType"),
        (np.array(5), "of type ndarray"),
        (np.array("cat"), "of type ndarray"),
        ([1, 2], "has 1 of type int"),
        (["cat", None], "has None of type NoneType"),
        (np.array([1.5]), "of type float"),
        ([["cat"]], "of type list"),
        ([], "has no label"),
        (["cat", " "], "empty label"),
        (["cat", "dog", "cat"], "0 «cat» and 2 «cat» are equal"),
        (["Cat", "cat"], "0 «Cat» and 1 «cat» are equal"),
        (["a  cat", "a cat"], "are equal"),
    ],
)
def test_other_types_and_unusable_labels_are_refused_by_their_type(labels: Any, expected: str) -> None:
    with pytest.raises(ZeroshotError, match=expected):
        parse_labels(labels, "candidate_labels")


@pytest.mark.parametrize("top_k", [0, -1, 1.5, "1", True, [1], float("nan")])
def test_a_top_k_that_is_not_a_positive_integer_is_refused(top_k: Any) -> None:
    with pytest.raises(ZeroshotError, match="top_k="):
        parse_top_k(top_k)


def test_a_top_k_is_an_integer_or_none() -> None:
    assert [parse_top_k(value) for value in (None, 1, np.int64(3))] == [None, 1, 3]


def test_labels_are_read_from_a_file_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("\ufeffcat\n\n  向日葵 \nbird's nest, empty\n1e3\n", encoding="utf-8")
    assert read_labels(file, "stage.labels_file") == ["cat", "向日葵", "bird's nest, empty", "1e3"]


def test_a_labels_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    for content in (None, b"\xff\xfe\x00\xd8"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ZeroshotError, match=r"stage\.labels_file=.*labels\.txt can't be read"):
            read_labels(file, "stage.labels_file")


@pytest.mark.parametrize(
    ("labels", "few"),
    [
        (["cat"], False),
        (["猫", "dog"], False),
        (["向日葵", "狗"], True),
        (["été"], False),
        (["кот"], True),
        (["1"], False),
    ],
)
def test_labels_in_other_scripts_are_noticed(labels: list[str], few: bool) -> None:
    assert few_letters(labels, "LATIN") is few


def test_labels_without_chinese_characters_are_noticed() -> None:
    assert few_letters(["kitten", "狗"], "CJK")
    assert not few_letters(["iPhone手机充电线"], "CJK")
    assert not few_letters(["1"], "CJK")


def test_classes_with_equal_texts_are_found_after_filling() -> None:
    names = ["blue square", "blue_square", "red arrow", "Blue_Square"]
    assert equal_classes(names, "spaces") == [(0, 1, 3)]
    assert equal_classes(names, "raw") == [(1, 3)]
    with pytest.raises(ZeroshotError, match="shapes: 0 «blue square» and 1 «blue_square» and 3 «Blue_Square»"):
        check_distinct(names, "spaces", "shapes")


def test_known_duplicates_are_warnings_and_others_are_refused() -> None:
    names = ["missile", "dog", "missile"]
    (line,) = check_distinct(names, "spaces", "imagenet", frozenset({"missile"}))
    assert "0 «missile» and 2 «missile»" in line
    with pytest.raises(ZeroshotError):
        check_distinct([*names, "dog"], "spaces", "imagenet", frozenset({"missile"}))


@given(st.lists(st.text("aA_ b", min_size=1), max_size=8))
def test_equal_classes_are_those_whose_normalised_texts_are_equal(names: list[str]) -> None:
    def normal(name: str) -> str:
        return " ".join(name.replace("_", " ").lower().split())

    equal = {(a, b) for ids in equal_classes(names, "spaces") for a in ids for b in ids if a < b}
    pairs = {(a, b) for b in range(len(names)) for a in range(b) if normal(names[a]) == normal(names[b])}
    assert equal == pairs


@pytest.mark.parametrize(
    ("tokens", "names", "named"),
    [
        (Tokenizer().ids, ["bird’s nest", "dog", "bird's nest"], "0 «bird’s nest» and 2 «bird's nest»"),
        (Tokenizer().ids, ["caf&eacute;", "café"], "0 «caf&eacute;» and 1 «café»"),
        (ChineseTokenizer(52).ids, ["猫", "龘", "靐"], "1 «龘» and 2 «靐»"),
        (ChineseTokenizer(52).ids, ["café", "cafe"], "0 «café» and 1 «cafe»"),
    ],
)
def test_labels_that_a_tokenizer_makes_equal_are_refused(tokens: Any, names: list[str], named: str) -> None:
    check_distinct(names, "raw", "labels")
    for templates in (["{}"], ["a photo of a {}.", "the {}"]):
        with pytest.raises(ZeroshotError, match=f"^{named} have the same tokens"):
            check_tokens(names, templates, "raw", tokens)


def test_labels_that_tokenizers_tell_apart_and_known_duplicates_are_taken() -> None:
    for tokenizer in (Tokenizer(), ChineseTokenizer(52)):
        check_tokens(["cat", "cats", "missile", "missile", "红_猫"], ["{}"], "raw", tokenizer.ids)
