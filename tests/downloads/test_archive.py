"""Archives become a folder, whole or not at all, and nothing leaves that folder."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from tests.downloads.test_fetch import visible
from zeroshot.downloads.archive import unpack
from zeroshot.errors import ZeroshotError

Member = tuple[str, bytes | str | None]  # a name and a file's bytes, a link's target, or None for a folder


def write_archive(path: Path, *members: Member, kind: bytes = tarfile.SYMTYPE) -> Path:
    """A `.tar.gz` of these members; those with a target are of this kind."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
            elif content is None:
                member.type = tarfile.DIRTYPE
            else:
                member.type, member.linkname = kind, content
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path


GOOD: list[Member] = [("cifar/", None), ("cifar/test", b"t" * 5000), ("cifar/more/meta", b"m")]


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("is_there", [False, True])
def test_an_archive_becomes_the_folder(tmp_path: Path, prefix: str, is_there: bool) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", *[(prefix + name, content) for name, content in GOOD])
    folder = tmp_path / "data" / "cifar-100-python"
    if is_there:
        folder.mkdir(parents=True)
    assert unpack(archive, folder) == folder
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"test": b"t" * 5000, "more/meta": b"m"}
    assert visible(folder.parent) == {folder.name}


def test_a_folder_with_content_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "cifar"
    folder.mkdir()
    (folder / "test").write_bytes(b"mine")
    unpack(write_archive(tmp_path / "a.tar.gz", *GOOD), folder)
    assert [path.name for path in folder.iterdir()] == ["test"]
    assert (folder / "test").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "member",
    [
        ("../outside", b"x"),
        ("cifar/../../outside", b"x"),
        ("/tmp/zeroshot-outside", b"x"),
        ("another/file", b"x"),
        ("cifar/link", "/etc/passwd"),
        ("cifar/link", "../../outside"),
    ],
    ids=lambda member: str(member[0]),
)
def test_a_member_outside_the_folder_is_refused(tmp_path: Path, member: Member) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", *GOOD, member)
    with pytest.raises(ZeroshotError, match=r"a\.tar\.gz: can't be unpacked"):
        unpack(archive, tmp_path / "data" / "deep" / "cifar")
    assert visible(tmp_path) == {"a.tar.gz", "data"}
    assert visible(tmp_path / "data" / "deep") == set()
    assert not Path("/tmp/zeroshot-outside").exists()


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", *GOOD, ("cifar/odd", "cifar/test"), kind=kind)
    with pytest.raises(ZeroshotError, match="can't be unpacked"):
        unpack(archive, tmp_path / "cifar")
    assert visible(tmp_path) == {"a.tar.gz"}


@pytest.mark.parametrize("tenths", range(10))
def test_an_archive_that_is_cut_leaves_nothing(tmp_path: Path, tenths: int) -> None:
    whole = write_archive(tmp_path / "whole.tar.gz", ("cifar/test", os.urandom(50_000))).read_bytes()
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(whole[: len(whole) * tenths // 10])
    with pytest.raises(ZeroshotError, match=r"a\.tar\.gz: can't be unpacked"):
        unpack(archive, tmp_path / "cifar")
    assert visible(tmp_path) == {"whole.tar.gz", "a.tar.gz"}


@pytest.mark.parametrize(
    "content", [b"<html></html>", gzip.compress(b"no tar"), gzip.compress(b"")], ids=["page", "gzip", "empty gzip"]
)
def test_what_is_not_an_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(ZeroshotError, match=r"a\.tar\.gz: can't be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "cifar")
    assert visible(tmp_path) == {"a.tar.gz"}
