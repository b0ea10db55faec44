"""A folder per class becomes a set of images; what does not fit is refused with its path."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zeroshot.data import class_names, image_folder
from zeroshot.data.image_set import ImageSet
from zeroshot.errors import ZeroshotError


def write(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (shade, 0, 0)).save(path)
    return path


def shades(data: ImageSet) -> list[int]:
    return [int(np.asarray(image)[0, 0, 0]) for image in data.images]


def fill(root: Path) -> Path:
    """Three classes of 2, 1 and 3 images; the shade of red is the place that each should get."""
    write(root / "Zebra" / "0.png", 0)
    write(root / "Zebra" / "1.bmp", 1)
    write(root / "ant" / "deep" / "down" / "a.PNG", 2)
    write(root / "big bee" / "1.png", 3)
    write(root / "big bee" / "10.webp", 4)
    write(root / "big bee" / "2.gif", 5)
    return root


def refusal(root: Path, class_names: Path | None = None, split: str = "test") -> str:
    with pytest.raises(ZeroshotError) as caught:
        image_folder.load(root, class_names, "mine", split)
    return str(caught.value)


def test_classes_and_images_come_in_sorted_order(tmp_path: Path) -> None:
    data = image_folder.load(fill(tmp_path), None, "mine", "test")
    assert (data.name, data.split, data.label_kind) == ("mine", "test", "class")
    assert data.classes == ("Zebra", "ant", "big bee")
    assert data.labels.tolist() == [0, 0, 1, 2, 2, 2]
    assert data.labels.dtype == np.int64
    assert data.indices.tolist() == [0, 1, 2, 3, 4, 5]
    assert shades(data)[:4] == [0, 1, 2, 3]
    assert isinstance(data.images[0], Image.Image)
    assert data.images[0].size == (4, 3)


def test_a_number_of_names_that_is_not_that_of_the_folders_is_refused(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("zebra\nant\n")
    line = refusal(fill(tmp_path / "set"), names)
    assert f"{names} has 2 names" in line
    assert f"{tmp_path / 'set'} has 3 classes" in line


def test_missing_names_are_refused_with_their_key(tmp_path: Path) -> None:
    line = refusal(fill(tmp_path / "set"), tmp_path / "names.txt")
    assert f"{tmp_path / 'names.txt'}, the file of dataset.class_names, can't be read" in line


def test_a_folder_of_the_split_s_name_is_the_set(tmp_path: Path) -> None:
    fill(tmp_path / "val")
    fill(tmp_path / "train")
    write(tmp_path / "train" / "ant" / "more.png", 9)
    assert len(image_folder.load(tmp_path, split="val")) == 6
    assert len(image_folder.load(tmp_path, split="train")) == 7
    assert "type dataset.split=val" in refusal(tmp_path, split="test")


@pytest.mark.parametrize("split", ["", ".", "..", "/", "nothing", "val/.."])
def test_without_a_folder_of_the_split_s_name_the_root_is_the_set(split: str, tmp_path: Path) -> None:
    assert len(image_folder.load(fill(tmp_path), split=split)) == 6


def test_hidden_files_and_windows_leftovers_are_passed_over(tmp_path: Path) -> None:
    before = image_folder.load(fill(tmp_path))
    for name in (".DS_Store", "ant/.hidden.png", "ant/.git/x.txt", "ant/Thumbs.db", "Zebra/desktop.ini", ".cache/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    after = image_folder.load(tmp_path)
    assert (after.classes, after.labels.tolist()) == (before.classes, before.labels.tolist())
    assert after.fingerprint == before.fingerprint


def test_images_beside_the_class_folders_are_refused(tmp_path: Path) -> None:
    write(fill(tmp_path) / "a.png", 0)
    write(tmp_path / "b.png", 0)
    assert f"{tmp_path / 'a.png'} (and 1 more) is in no class's folder" in refusal(tmp_path)


def test_a_class_without_images_is_refused(tmp_path: Path) -> None:
    (fill(tmp_path) / "cow" / "deep").mkdir(parents=True)
    assert f"{tmp_path / 'cow'} has no images" in refusal(tmp_path)


def test_one_folder_or_none_is_refused(tmp_path: Path) -> None:
    assert "has no folders: dataset.root" in refusal(tmp_path)
    (tmp_path / "inner").mkdir()
    assert "has one folder, «inner»: dataset.root" in refusal(tmp_path)
    fill(tmp_path / "inner")
    assert refusal(tmp_path).endswith(f"one folder down: type dataset.root={tmp_path / 'inner'}")


def test_a_missing_root_is_refused_with_its_key(tmp_path: Path) -> None:
    line = refusal(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in line
    assert "dataset.root" in line
    assert "experiment=quickstart" in line


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = fill(tmp_path / "set")
    (root / "linked").symlink_to(root / "ant")
    (root / "Zebra" / "link.png").symlink_to(root / "ant" / "deep" / "down" / "a.PNG")
    data = image_folder.load(root)
    assert data.labels.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]
    (root / "ant" / "deep" / "up").symlink_to(root / "ant")
    assert "links to a folder that was read already" in refusal(root)


def test_a_folder_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")) / "a.png", 0)
    line = refusal(tmp_path)
    assert "caf\\udce9" in line
    assert line.encode("utf-8")


def test_the_fingerprint_is_of_content_not_of_place(tmp_path: Path) -> None:
    first = image_folder.load(fill(tmp_path / "one"))
    again = image_folder.load(fill(tmp_path / "two" / "val"), None, "other", "val")
    assert first.fingerprint == again.fingerprint
    os.utime(tmp_path / "one" / "Zebra" / "0.png", (0, 0))
    (tmp_path / "one" / "Zebra" / "0.png").rename(tmp_path / "one" / "Zebra" / "00.png")
    assert image_folder.load(tmp_path / "one").fingerprint == first.fingerprint

    seen = {first.fingerprint}
    write(tmp_path / "one" / "Zebra" / "00.png", 7)  # another content
    seen.add(image_folder.load(tmp_path / "one").fingerprint)
    (tmp_path / "one" / "Zebra" / "1.bmp").rename(tmp_path / "one" / "ant" / "1.bmp")  # another class
    seen.add(image_folder.load(tmp_path / "one").fingerprint)
    (tmp_path / "one" / "Zebra").rename(tmp_path / "one" / "Donkey")  # another name
    seen.add(image_folder.load(tmp_path / "one").fingerprint)
    (tmp_path / "one" / "ant" / "1.bmp").unlink()
    seen.add(image_folder.load(tmp_path / "one").fingerprint)
    assert len(seen) == 5


def folders(root: Path, *names: str) -> Path:
    """A folder with a small image in each of these folders."""
    for name in names:
        (root / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / name / "a.png")
    return root


def test_a_names_file_beside_the_folders_is_not_a_stray_and_other_files_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = folders(tmp_path, "ant", "bee") / "names.txt"
    names.write_text("bee\nant\n")
    assert image_folder.load(tmp_path, names).classes == ("ant", "bee")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    (tmp_path / "README").touch()
    (tmp_path / "list.csv").touch()
    image_folder.load(tmp_path, names)
    assert f"{tmp_path / 'README'} (and 1 more) beside the class folders is not part of the set" in caplog.text


def test_files_that_are_not_read_are_listed_with_their_reason_or_left_out(tmp_path: Path) -> None:
    folders(tmp_path, "ant", "bee")
    (tmp_path / "ant" / "notes.txt").touch()
    (tmp_path / "ant" / "broken.png").symlink_to("nowhere")
    (tmp_path / "bee" / "photo.HEIC").touch()
    os.mkfifo(tmp_path / "bee" / "pipe.png")
    line = refusal(tmp_path)
    assert "files that are not read, 4 in all" in line
    for expected in ("ant/broken.png: a dangling link", "ant/notes.txt: not an image format", "bee/photo.HEIC: "):
        assert expected in line
    assert "dataset.unreadable=skip" in line
    images = image_folder.load(tmp_path, skip_unreadable=True)
    assert len(images) == 2
    assert len(images.skipped) == 4


def test_numbered_folders_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    root = folders(tmp_path / "set", *(str(number) for number in range(12)))
    names = tmp_path / "names.txt"
    names.write_text("".join(f"name {number}\n" for number in range(12)))
    images = image_folder.load(root, names)
    assert images.class_sources == tuple(str(number) for number in range(12))
    assert images.classes == tuple(f"name {number}" for number in range(12))
    assert [images.images[place] and images.class_sources[images.labels[place]] for place in (2, 11)] == ["2", "11"]
    assert images.class_mapping == "by number"


def test_names_that_are_those_of_the_folders_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    root = folders(tmp_path / "set", "blue_square", "red_arrow")
    names = tmp_path / "names.txt"
    names.write_text("red arrow\nblue square\n")
    images = image_folder.load(root, names)
    assert images.classes == ("blue square", "red arrow")
    assert images.class_mapping == "by name"


def test_names_in_an_order_that_nothing_says_are_refused_with_the_first_pairs(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("zebra\nlion\n")
    line = refusal(folders(tmp_path / "set", "l", "z"), names)
    assert "l → zebra, z → lion" in line
    assert "two columns, folder,name" in line


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.csv", "folder,name\nz,zebra\nl,lion\n"),
        ("names.tsv", "z\tzebra\nl\tlion\n"),
        ("names.txt", "z\tzebra\nl\tlion\n"),
        ("names.json", '{"z": "zebra", "l": "lion"}'),
    ],
)
def test_a_file_of_two_columns_names_each_folder(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    root = folders(tmp_path / "set", "l", "z")
    assert image_folder.load(root, tmp_path / name).classes == ("lion", "zebra")
    folders(root, "x")
    assert "has no name for «x»" in refusal(root, tmp_path / name)


def test_imagenets_folders_get_their_names_by_wordnet_id_whichever_there_are(tmp_path: Path) -> None:
    root = folders(tmp_path / "set", "n02979186", "n01440764", "n04008634")
    images = image_folder.load(root, class_names.IMAGENET)
    assert images.classes == ("tench", "cassette player", "missile")
    assert images.class_mapping == "by WordNet id, 3 of its 1000 classes"
    folders(root, "n03773504")
    assert image_folder.load(root, class_names.IMAGENET).classes.count("missile") == 2
    assert "have no names" in refusal(root)


@pytest.mark.parametrize("names", [("0", "1"), ("0", "7"), ("n01440764", "n02979186")])
def test_bare_numbers_and_wordnet_ids_are_names_only_on_request(tmp_path: Path, names: tuple[str, str]) -> None:
    root = folders(tmp_path, *names)
    line = refusal(root)
    assert "dataset.class_names=folders" in line
    assert image_folder.load(root, class_names.FOLDERS).classes == names


def test_a_folder_of_the_splits_name_beside_others_is_not_chosen_in_silence(tmp_path: Path) -> None:
    folders(tmp_path, "dog", "test/left", "test/right")
    line = refusal(tmp_path)
    assert "dataset.split=all" in line
    assert f"dataset.root={tmp_path / 'test'}" in line
    assert image_folder.load(tmp_path, split="all").classes == ("dog", "test")
    assert image_folder.load(tmp_path / "test").classes == ("left", "right")


@pytest.mark.parametrize("names", [("Training", "Testing"), ("TRAIN",), ("train", "val", "extra")])
def test_folders_with_the_names_of_splits_are_not_taken_as_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        fill(tmp_path / name)
    line = refusal(tmp_path)
    if "extra" in names:
        assert f"type dataset.split=all if all are classes, or dataset.root={tmp_path}/val for those in it" in line
        assert image_folder.load(tmp_path, split="all").classes == ("extra", "train", "val")
        assert image_folder.load(tmp_path / "val").classes == ("Zebra", "ant", "big bee")
    else:
        assert f"has no folder test but {', '.join(reversed(names))}: type dataset.split={names[-1]}" in line
        assert image_folder.load(tmp_path, split=names[-1]).classes == ("Zebra", "ant", "big bee")


def test_a_class_may_have_the_name_of_a_split(tmp_path: Path) -> None:
    for name in ("bus", "train", "tram"):
        write(tmp_path / name / "a.png", 1)
    assert image_folder.load(tmp_path).classes == ("bus", "train", "tram")


@pytest.mark.parametrize("other", ["a/notes.txt", "c/notes.txt", "b/notes.txt"])
def test_a_class_without_an_image_is_refused_whatever_else_is_skipped(other: str, tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png", 1)
    write(tmp_path / "c" / "1.png", 2)
    (tmp_path / "b").mkdir()
    (tmp_path / other).write_text("x")
    with pytest.raises(ZeroshotError, match="b has no images: fill this class's folder or remove it"):
        image_folder.load(tmp_path, skip_unreadable=True)
