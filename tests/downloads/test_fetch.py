"""Downloads against a server that plays tricks, and archives that try to leave their folder."""

import gzip
import hashlib
import io
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from zeroshot.downloads.fetch import fetch, unpack
from zeroshot.downloads.fetch import fetch as download
from zeroshot.errors import ZeroshotError

ROOT = Path(__file__).parents[1]
CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ALTERED = CONTENT[:1000] + b"!" + CONTENT[1001:]
REASONS = {  # the mirrors that give nothing, and what is said of each
    "missing": "404",
    "page": "another sha256",
    "altered": "another sha256",
    "cut": "broke off",
    "stalls": "no answer",
    "loop": "redirects",
    "elsewhere": "ftp",
}


class Tricks(BaseHTTPRequestHandler):
    """Answers by the path that is asked for."""

    asked: ClassVar[Counter[str]] = Counter()
    released: ClassVar[threading.Event] = threading.Event()

    def do_GET(self) -> None:
        what = self.path.strip("/")
        self.asked[what] += 1
        if what in ("moved", "loop", "elsewhere"):
            self.send_response(302)
            to = {"moved": "/good", "loop": "/loop", "elsewhere": "ftp://127.0.0.1/good"}[what]
            self.send_header("Location", to)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif what == "missing":
            self.send_error(404)
        else:
            self.send_body(what)

    def send_body(self, what: str) -> None:
        body = {"altered": ALTERED, "page": b"<html>Please log in</html>"}.get(what, CONTENT)
        self.send_response(200)
        if what != "unsized":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if what in ("cut", "stalls"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if what == "stalls":
                self.released.wait(30)
        elif what == "slow":
            for start in range(0, len(body), len(body) // 20):
                self.wfile.write(body[start : start + len(body) // 20])
                time.sleep(0.02)
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the server."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.01)
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.5))
    Tricks.asked, Tricks.released = Counter(), threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Tricks) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        Tricks.released.set()
        http.shutdown()


def visible(folder: Path) -> set[str]:
    """What lies in a folder, but for the lock."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


@pytest.mark.parametrize("what", ["good", "slow", "moved", "unsized"])
def test_a_download_is_the_file(server: str, tmp_path: Path, what: str) -> None:
    target = tmp_path / "weights" / "file.bin"
    assert fetch([f"{server}/{what}"], SHA256.upper(), target, progress=False) == target
    assert target.read_bytes() == CONTENT
    assert visible(target.parent) == {"file.bin"}
    assert target.stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize("what", REASONS)
def test_a_mirror_that_fails_gives_way_to_the_next(server: str, tmp_path: Path, what: str) -> None:
    target = tmp_path / "file.bin"
    fetch(["http://127.0.0.1:9/dead", f"{server}/{what}", f"{server}/good"], SHA256, target, progress=False)
    assert target.read_bytes() == CONTENT
    assert Tricks.asked[what] >= 1
    assert Tricks.asked["good"] == 1


def test_where_no_mirror_gives_the_file_each_reason_is_told_and_nothing_is_left(server: str, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    urls = [f"{server}/{what}" for what in REASONS] + ["http://127.0.0.1:9/dead"]
    with pytest.raises(ZeroshotError) as caught:
        fetch(urls, SHA256, target, progress=False)
    line = str(caught.value)
    assert "\n" not in line
    assert f"put it at {target}" in line
    assert SHA256 in line
    for what, reason in REASONS.items():
        told = line.partition(f"{server}/{what}: ")[2].partition(";")[0]
        assert reason in told, (what, told)
    assert "dead: it cannot be reached" in line
    assert visible(tmp_path) == set()


def test_an_error_page_is_not_asked_for_twice_but_a_broken_connection_is(server: str, tmp_path: Path) -> None:
    with pytest.raises(ZeroshotError):
        fetch(
            [f"{server}/missing", f"{server}/altered", f"{server}/cut"], SHA256, tmp_path / "file.bin", progress=False
        )
    assert Tricks.asked == {"missing": 1, "altered": 1, "cut": download.ATTEMPTS}


def test_a_file_that_is_there_is_used_without_a_network(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(CONTENT)
    assert fetch([], SHA256, target, progress=False) == target
    assert visible(tmp_path) == {"file.bin"}


def test_without_a_download_pooch_is_not_imported(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(CONTENT)
    script = (
        "import sys; from pathlib import Path; from zeroshot.downloads.fetch import fetch; "
        f"fetch([], {SHA256!r}, Path({str(target)!r}), progress=True); "
        "sys.exit('pooch' in sys.modules or 'requests' in sys.modules or 'mindspore' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


def test_another_file_that_is_there_is_neither_used_nor_touched(server: str, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(ALTERED)
    with pytest.raises(ZeroshotError, match=r"file\.bin: not used.*remove it"):
        fetch([f"{server}/good"], SHA256, target, progress=False)
    assert target.read_bytes() == ALTERED
    assert not Tricks.asked


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/file", "/etc/passwd", "package:file"])
def test_only_http_is_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(ZeroshotError, match="not a URL of http"):
        fetch([url], SHA256, tmp_path / "file.bin", progress=False)
    assert visible(tmp_path) == set()


@pytest.mark.parametrize("digest", ["", "12ab", "sha256:" + SHA256, SHA256[:-1] + "g"])
def test_a_digest_that_is_none_is_refused(tmp_path: Path, digest: str) -> None:
    with pytest.raises(ZeroshotError, match="is not a sha256"):
        fetch(["http://127.0.0.1:9/dead"], digest, tmp_path / "file.bin", progress=False)


def test_a_place_that_cannot_be_written_is_told(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ZeroshotError, match="cannot be written"):
        fetch([f"{server}/good"], SHA256, tmp_path / "file" / "weights.bin", progress=False)


def test_the_bar_is_shown_where_it_is_asked_for(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch([f"{server}/slow"], SHA256, tmp_path / "shown.bin", progress=True)
    assert "shown.bin" in capsys.readouterr().err
    fetch([f"{server}/slow"], SHA256, tmp_path / "hidden.bin", progress=False)
    assert capsys.readouterr().err == ""


def fetching(server: str, what: str, target: Path) -> "subprocess.Popen[bytes]":
    """Another process that fetches."""
    script = (
        "import sys; from pathlib import Path; from zeroshot.downloads.fetch import fetch; "
        f"fetch([{f'{server}/{what}'!r}], {SHA256!r}, Path({str(target)!r}), progress=False)"
    )
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)


def test_processes_that_want_the_same_file_download_it_once(server: str, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    processes = [fetching(server, "slow", target) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert Tricks.asked["slow"] == 1
    assert target.read_bytes() == CONTENT


def test_a_download_that_was_killed_is_not_used(server: str, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    process = fetching(server, "stalls", target)
    while not Tricks.asked["stalls"] and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.2)
    process.kill()
    process.wait()
    assert not target.exists()
    assert visible(tmp_path), "the process was to be killed in the middle"
    fetch([f"{server}/good"], SHA256, target, progress=False)
    assert target.read_bytes() == CONTENT
    assert visible(tmp_path) == {"file.bin"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_nobody_signed_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Tricks) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        url = f"https://127.0.0.1:{http.server_address[1]}/good"
        try:
            with pytest.raises(ZeroshotError, match="TLS certificate is not trusted"):
                fetch([url], SHA256, tmp_path / "file.bin", progress=False)
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
            fetch([url], SHA256, tmp_path / "file.bin", progress=False)
        finally:
            http.shutdown()


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


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path: Path) -> None:
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
        ("cifar/..", None),
        ("cifar\\..\\outside", b"x"),
        ("C:outside", b"x"),
        ("another/file", b"x"),
        ("cifar", b"x"),
        ("cifar/link", "/etc/passwd"),
        ("cifar/test", b"twice"),
    ],
    ids=lambda member: str(member[0]),
)
def test_a_member_that_leads_out_ends_it(tmp_path: Path, member: Member) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", *GOOD, member)
    with pytest.raises(ZeroshotError, match=r"a\.tar\.gz: cannot be unpacked"):
        unpack(archive, tmp_path / "data" / "deep" / "cifar")
    assert visible(tmp_path) == {"a.tar.gz", "data"}
    assert visible(tmp_path / "data" / "deep") == set()
    assert not Path("/tmp/zeroshot-outside").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", *GOOD, ("cifar/odd", "cifar/test"), kind=kind)
    with pytest.raises(ZeroshotError, match="a link or a device"):
        unpack(archive, tmp_path / "cifar")
    assert visible(tmp_path) == {"a.tar.gz"}


def test_an_archive_is_bounded_in_files_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", *GOOD)
    monkeypatch.setattr(download, "MOST_FILES", 2)
    with pytest.raises(ZeroshotError, match="more than 2 files"):
        unpack(archive, tmp_path / "cifar")
    monkeypatch.setattr(download, "MOST_FILES", 10)
    monkeypatch.setattr(download, "LARGEST", 5000)
    with pytest.raises(ZeroshotError, match="or 5000 bytes"):
        unpack(archive, tmp_path / "cifar")
    # a header of its own kind, which tar reads before any member is seen
    archive = write_archive(tmp_path / "a.tar.gz", ("cifar/" + "n" * 300_000, b"x"))
    with pytest.raises(ZeroshotError, match="more than 5000 bytes"):
        unpack(archive, tmp_path / "cifar")
    assert visible(tmp_path) == {"a.tar.gz"}


@pytest.mark.parametrize("tenths", range(10))
def test_an_archive_that_is_cut_leaves_nothing(tmp_path: Path, tenths: int) -> None:
    whole = write_archive(tmp_path / "whole.tar.gz", ("cifar/test", os.urandom(50_000))).read_bytes()
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(whole[: len(whole) * tenths // 10])
    with pytest.raises(ZeroshotError, match=r"a\.tar\.gz: cannot be unpacked"):
        unpack(archive, tmp_path / "cifar")
    assert visible(tmp_path) == {"whole.tar.gz", "a.tar.gz"}


@pytest.mark.parametrize("content", [b"<html></html>", gzip.compress(b"no tar"), gzip.compress(b"")])
def test_what_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(ZeroshotError, match=r"a\.tar\.gz: cannot be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "cifar")
    assert visible(tmp_path) == {"a.tar.gz"}
