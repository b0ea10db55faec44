"""Class names are read as written, and a list that can't tell classes apart is refused."""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeroshot.data import class_names
from zeroshot.errors import ZeroshotError

NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
    .map(str.strip)
    .filter(lambda name: name and not name.startswith("\ufeff")),
    min_size=2,
    unique=True,
)


@given(names=NAMES, end=st.sampled_from(["\n", "\r\n", "\r"]), mark=st.booleans(), last=st.integers(0, 3))
def test_names_come_back_whatever_the_line_ends(
    names: list[str], end: str, mark: bool, last: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "names.txt"
    text = end.join(names) + end * last
    path.write_bytes(text.encode("utf-8-sig" if mark else "utf-8"))
    assert class_names.read(path) == tuple(names)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"cat\n\ndog\n", "class name 2 is empty"),
        (b"cat\ndog\ncat\n", "class names 1 and 3 are both «cat»"),
        (b"cat\ndo\0g\n", "class name 2, «do\\x00g», is not plain text"),
        (b"cat\n\xe9t\xe9\n", "line 2, is not UTF-8"),
        ("cat\ndog\n".encode("utf-16"), "is not UTF-8"),
        (b"cat\n", "two or more classes, there is «cat»"),
        (b"", "class name 1 is empty"),
    ],
)
def test_a_list_that_names_no_classes_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(data)
    with pytest.raises(ZeroshotError) as caught:
        class_names.read(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@given(data=st.binary(max_size=60))
def test_any_bytes_give_names_or_one_line(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.txt"
    path.write_bytes(data)
    with suppress(ZeroshotError):
        names = class_names.read(path)
        assert len(set(names)) == len(names) >= 2


def test_a_missing_list_is_refused_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(ZeroshotError, match=r"names\.txt, the file of dataset\.class_names, can't be read"):
        class_names.read(tmp_path / "names.txt", "dataset.class_names")


def test_imagenet_has_openai_s_thousand_names() -> None:
    names = class_names.read(class_names.IMAGENET)
    assert len(names) == 1000
    assert [names[n] for n in (0, 134, 517, 638, 639, 999)] == [
        *("tench", "crane bird", "construction crane", "tights", "one-piece bathing suit", "toilet paper"),
    ]
    digest = sha256(class_names.IMAGENET.read_bytes()).hexdigest()
    assert digest == "8800e39242cbed4c6889376e20a49cfdaf4f84a773a6686d15c3b39972ef94c4"


def test_only_openai_s_own_list_may_name_two_classes_alike(tmp_path: Path) -> None:
    names = list(class_names.read(class_names.IMAGENET))
    assert sorted(name for name in set(names) if names.count(name) > 1) == ["missile", "sunglasses"]
    copy = tmp_path / "copy.txt"
    copy.write_text("\n".join(names), encoding="utf-8")
    assert class_names.read(copy) == tuple(names)
    copy.write_text("\n".join(names[:-1]), encoding="utf-8")
    with pytest.raises(ZeroshotError, match="class names 658 and 745 are both «missile»"):
        class_names.read(copy)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("deep.json", "[" * 200_000, "is not JSON"),
        ("twice.json", '{"a": "cat", "a": "dog"}', "«a» has two names"),
        ("open.csv", 'a,"cat\nb,dog\n', "is not CSV"),
    ],
)
def test_a_file_of_pairs_that_can_t_be_read_is_one_line(name: str, content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ZeroshotError, match=said):
        class_names.pairs_or_none(path)
