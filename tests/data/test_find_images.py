"""The images behind files, folders, globs and URLs."""

from pathlib import Path

import pytest

from zeroshot.data.find_images import find_images
from zeroshot.errors import ZeroshotError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Names of images in two folders, and a text file among them."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("0.png", "1.png", "2.png", "bad.png", "cut.png", "more/3.png", "more/4.png", "notes.txt"):
        (folder / name).touch()
    return folder


def test_folders_are_searched_in_order_and_files_are_taken_as_they_are(photos: Path) -> None:
    names = [Path(path).name for path in find_images([str(photos), str(photos / "notes.txt")])]
    assert names == ["0.png", "1.png", "2.png", "bad.png", "cut.png", "3.png", "4.png", "notes.txt"]
    assert [Path(path).name for path in find_images([str(photos / "?.png")])] == ["0.png", "1.png", "2.png"]
    assert [Path(path).name for path in find_images([str(photos / "**" / "[34].png")])] == ["3.png", "4.png"]


def test_a_file_whose_name_has_glob_characters_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1].png"
    path.touch()
    assert find_images([str(path)]) == [str(path)]


def test_a_folder_is_searched_once_in_the_order_of_its_paths_whatever_links_it_has(photos: Path) -> None:
    (photos / ".hidden.png").touch()
    (photos / "more-.png").touch()
    (photos / "more" / "UPPER.JPG").touch()
    (photos / "more" / "a.pdf").touch()  # which Pillow writes but can't read
    (photos / "again").symlink_to(photos)
    (photos / "nowhere.png").symlink_to(photos / "removed.png")
    found = find_images([str(photos), "https://a.b/c?d=*"])
    inside = [str(Path(path).relative_to(photos)) for path in found[:-1]]
    assert inside == sorted(inside)
    assert inside[-4:] == ["more-.png", "more/3.png", "more/4.png", "more/UPPER.JPG"]
    assert found[-1] == "https://a.b/c?d=*"
    assert len(found) == 10


def test_a_folder_or_a_glob_without_images_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "*.png"):
        with pytest.raises(ZeroshotError, match="has no image"):
            find_images([str(place)])
    with pytest.raises(ZeroshotError, match="is empty"):
        find_images([])
