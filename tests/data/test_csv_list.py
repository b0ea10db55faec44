"""A CSV of paths and labels becomes a set of images; what does not fit is refused with its line."""

import csv
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zeroshot.data import csv_list, image_folder
from zeroshot.data.class_names import IMAGENET
from zeroshot.errors import ZeroshotError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images a.png, b.png and sub/c.png, and names.txt with cat, dog, bird."""
    (tmp_path / "sub").mkdir()
    for shade, name in enumerate(("a.png", "b.png", "sub/c.png")):
        Image.new("RGB", (4, 3), (shade, 0, 0)).save(tmp_path / name)
    (tmp_path / "names.txt").write_text("cat\ndog\nbird\n")
    return tmp_path


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path, class_names: Path | None = None) -> str:
    with pytest.raises(ZeroshotError) as caught:
        csv_list.load(path, class_names, "mine", "test")
    return str(caught.value)


def test_labels_are_names_and_classes_are_sorted(folder: Path) -> None:
    data = csv_list.load(write(folder, "path,label\nsub/c.png,dog\na.png,cat\nb.png,dog\n"), None, "mine", "val")
    assert (data.name, data.split, data.label_kind) == ("mine", "val", "class")
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [1, 0, 1]
    assert data.labels.dtype == np.int64
    assert data.indices.tolist() == [0, 1, 2]
    assert [int(np.asarray(image)[0, 0, 0]) for image in data.images] == [2, 0, 1]


@pytest.mark.parametrize("labels", [("bird", "cat", "dog"), ("2", "0", "1")])
def test_with_names_labels_are_names_or_ids(folder: Path, labels: tuple[str, str, str]) -> None:
    rows = "".join(f"{file},{label}\n" for file, label in zip(("a.png", "b.png", "sub/c.png"), labels, strict=True))
    data = csv_list.load(write(folder, "path,label\n" + rows), folder / "names.txt")
    assert data.classes == ("cat", "dog", "bird")
    assert data.labels.tolist() == [2, 0, 1]


def test_labels_that_are_all_names_are_no_ids(folder: Path) -> None:
    (folder / "names.txt").write_text("1\n2\n0\n")
    data = csv_list.load(write(folder, "path,label\na.png,0\nb.png,1\nb.png,2\n"), folder / "names.txt")
    assert data.labels.tolist() == [2, 0, 1]


def test_a_class_that_no_image_has_stays_a_candidate_and_is_named(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = csv_list.load(write(folder, "path,label\na.png,cat\n"), folder / "names.txt")
    assert data.classes == ("cat", "dog", "bird")
    assert "lists no image of class «dog», nor of 1 more" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffpath,label\r\na.png,cat\r\nb.png,dog\r\n",
        "path,label\ra.png,cat\rb.png,dog",
        'label,"path"\n"cat","a.png"\n"dog",b.png\n\n \n',
        "id, path , label, note\n1, a.png, cat ,\n2, b.png, dog,x\n",
        "path,label\n./a.png,cat\nsub/../b.png,dog\n",
    ],
    ids=["windows", "old mac", "quoted", "more columns", "dots"],
)
def test_forms_of_the_same_list_are_the_same_set(folder: Path, text: str) -> None:
    plain = csv_list.load(write(folder, "path,label\na.png,cat\nb.png,dog\n"))
    data = csv_list.load(write(folder, text))
    assert (data.classes, data.labels.tolist()) == (plain.classes, plain.labels.tolist())
    assert data.fingerprint == plain.fingerprint


def test_paths_may_be_absolute_or_begin_at_home(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder / "sub"))
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    text = f"path,label\n{folder / 'b.png'},cat\n~/c.png,dog\n"
    data = csv_list.load(write(elsewhere, text))
    assert [int(np.asarray(image)[0, 0, 0]) for image in data.images] == [1, 2]


def test_quoted_names_keep_commas_quotes_and_scripts(folder: Path) -> None:
    names = ["salt, pepper", 'a "quoted" one', "向日葵"]
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *(("a.png", name) for name in names)])
    data = csv_list.load(folder / "list.csv")
    assert [data.classes[label] for label in data.labels] == names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, must be a header"),
        ("picture,label\na.png,cat\n", "line 1, must be a header with one column of path, file"),
        ("a.png,cat\nb.png,dog\n", "add a first line such as path,label; it is now a.png,cat"),
        ("path,kind\na.png,cat\n", "one column of label, class"),
        ("path,label,path\na.png,cat,b.png\n", "one column of path"),
        ("a.png,cat\nb.png,dog\n", "line 1, must be a header"),
        ("path,label\n", "lists no images"),
        ("path,label\na.png,cat\n\nb.png,dog\n", "line 3, is empty"),
        ("path,label\na.png,cat\nb.png\n", "line 3, has 1 fields, the header 2"),
        ("path,label\na.png,cat,dog\n", "line 2, has 3 fields, the header 2"),
        ("path,label\na.png,cat\n,dog\n", "line 3, has no path"),
        ("path,label\na.png,cat\nb.png,\n", "line 3, has no label"),
        ("path,label\na.png,cat\nb.png, \nb.png,dog\n", "line 3, has no label"),
        ('path,label\na.png,"cat\n', "line 2, is not CSV"),
        ('path,label\na.png,"cat"s\n', "line 2, is not CSV"),
        ('path,label,note\na.png,cat,"two\nlines"\nx.png,dog,\n', "line 4: there is no image file"),
        ("path,label\na.png,cat\nx.png,dog\n", "line 3: there is no image file"),
        ("path,label\na.png,cat\nsub,dog\n", "line 3: there is no image file"),
        ("path,label\na.png,cat\nno\0name.png,dog\n", "line 3"),
        ("path,label\na.png,cat\n~\0/a.png,dog\n", "line 3"),
        (f"path,label\na.png,cat\n{'x' * 9000},dog\n", "line 3: there is no image file"),
        ("path,label\na.png,cat\nb.png,cat\n", "two or more classes, there is «cat»"),
        ("path,label\na.png,0\nb.png,1\n", "classes such as «0» have no names: set dataset.class_names"),
        ('path,label\na.png,cat\nb.png,"a\nb"\n', "class name 1, «a\\nb», is not plain text"),
        (b"path,label\na.png,cat\nb.png,caf\xe9\n", "line 3, is not UTF-8"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_with_its_line(folder: Path, text: str | bytes, said: str) -> None:
    path = write(folder, text)
    line = refusal(path)
    assert str(path) in line
    assert said in line


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("cat", "fish"), "line 3: the label «fish» is not one of the 3 class names"),
        (("cat", "1"), "line 3: the label «1» is not one of the 3 class names"),
        (("1", "3"), "line 3: the label «3» is not an id from 0 to 2"),
        (("-1", "1"), "line 2: the label «-1» is not an id from 0 to 2"),
        (("01", "1"), "line 2: the label «01» is not an id"),
        (("٣", "1"), "line 2: the label «٣» is not one of"),
        (("Cat", "dog"), "line 2: the label «Cat» is not one of"),
    ],
)
def test_an_unknown_label_is_refused_with_its_line(folder: Path, labels: tuple[str, str], said: str) -> None:
    path = write(folder, f"path,label\na.png,{labels[0]}\nb.png,{labels[1]}\n")
    assert said in refusal(path, folder / "names.txt")


def test_a_name_that_two_imagenet_classes_share_needs_an_id(folder: Path) -> None:
    assert "two classes are named «missile»" in refusal(write(folder, "path,label\na.png,missile\n"), IMAGENET)
    assert csv_list.load(write(folder, "path,label\na.png,744\n"), IMAGENET).labels.tolist() == [744]


def test_a_missing_list_or_names_is_refused_with_its_key(folder: Path) -> None:
    assert "no.csv, the file of dataset.root, can't be read" in refusal(folder / "no.csv")
    path = write(folder, "path,label\na.png,cat\n")
    assert "no.txt, the file of dataset.class_names, can't be read" in refusal(path, folder / "no.txt")
    assert "is not a file" in refusal(folder)


def test_the_same_images_as_a_list_and_as_folders_have_one_fingerprint(folder: Path) -> None:
    for label, name in (("cat", "a.png"), ("dog", "b.png")):
        (folder / "set" / label).mkdir(parents=True)
        (folder / "set" / label / name).write_bytes((folder / name).read_bytes())
    listed = csv_list.load(write(folder, "path,label\na.png,cat\nb.png,dog\n"))
    assert listed.fingerprint == image_folder.load(folder / "set").fingerprint
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes())
    assert listed.fingerprint != csv_list.load(folder / "list.csv").fingerprint


PIECES = st.sampled_from(["path", "label", "a.png", "b.png", "cat", "dog", "0", ",", "\n", '"', "\r\n", " ", "\0", "é"])


@given(text=st.lists(PIECES | st.text(max_size=3), max_size=20).map("".join), named=st.booleans())
def test_any_text_gives_a_set_or_one_line(text: str, named: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "any list"
    folder.mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        Image.new("L", (1, 1)).save(folder / name)
    (folder / "names.txt").write_text("cat\ndog\n")
    path = write(folder, ("path,label\n" + text).encode("utf-8", "replace"))
    with suppress(ZeroshotError):
        data = csv_list.load(path, folder / "names.txt" if named else None)
        assert len(data) == len(data.images) >= 1
        assert set(data.labels.tolist()) <= set(range(len(data.classes)))


def test_wordnet_ids_are_named_by_imagenets_list(folder: Path) -> None:
    path = write(folder, "path,label\na.png,n01443537\nb.png,n01440764\n")
    assert f"package:data/{IMAGENET.name}" in refusal(path)
    data = csv_list.load(path, IMAGENET)
    assert data.classes == ("tench", "goldfish")
    assert data.labels.tolist() == [1, 0]
