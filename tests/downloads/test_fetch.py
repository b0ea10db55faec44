"""Downloads from several sources, through real HTTP servers that play hub, mirror and content host."""

import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.conftest import ROOT
from zeroshot.downloads import digest
from zeroshot.downloads import fetch as download
from zeroshot.downloads.fetch import Source, fetch
from zeroshot.errors import ZeroshotError

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
CHANGED = CONTENT[:1000] + b"!" + CONTENT[1001:]
REASONS = {  # sources that fail, and what is said of each
    "missing": "404",
    "page": "a web page came instead of the file",
    "changed": "another sha256",
    "cut": "broke off",
    "stalls": "no answer",
    "loop": "redirects",
    "elsewhere": "ftp",
    "gated": "401: it needs a token",
    "busy": "429: the server is overloaded",
}


class Host(BaseHTTPRequestHandler):
    """Answers by the path that is requested, and notes each request."""

    requests: ClassVar[list[tuple[str, dict[str, str]]]] = []
    released: ClassVar[threading.Event] = threading.Event()
    content_host: ClassVar[str] = ""

    def do_GET(self) -> None:
        name = self.path.strip("/").rsplit("/", 1)[-1]
        self.requests.append((name, dict(self.headers.items())))
        count = sum(each == name for each, _ in self.requests)
        redirects = {"moved": "/good", "loop": "/loop", "elsewhere": "ftp://127.0.0.1/good"}
        redirects["large.bin"] = f"{self.content_host}/good"
        if name in redirects:
            self.send_response(302)
            self.send_header("Location", redirects[name])
            self.send_header("X-Linked-Etag", f'"{SHA256}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name == "missing":
            self.send_error(404)
        elif name == "gated" and self.headers.get("Authorization") != "Bearer secret":
            self.send_error(401)
        elif name == "busy" or (name == "busy-once" and count == 1):
            self.send_response(429)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_body(name, count)

    def send_body(self, name: str, count: int) -> None:
        body = {"changed": CHANGED, "page": b"<!DOCTYPE html><html>Please log in</html>"}.get(name, CONTENT)
        start = 0
        if (given := self.headers.get("Range")) and name != "no-range":
            start = int(given.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        body = body[start:]
        if name != "unsized":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        breaks = name in ("cut", "stalls") or (name in ("cut-once", "no-range") and count == 1)
        self.wfile.write(body[: len(body) // 2] if breaks else body)
        self.wfile.flush()
        if name == "stalls":
            self.released.wait(30)

    def log_message(self, format: str, *args: object) -> None:
        pass


def requested(name: str) -> list[dict[str, str]]:
    """The headers of each request for a name."""
    return [headers for each, headers in Host.requests if each == name]


@pytest.fixture
def start_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Starts a server and returns its address, which has the host name given: each name is a host of its own."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    for name in ("HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.5))
    Host.requests, Host.released = [], threading.Event()
    servers = []

    def start(name: str) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Host)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://{name}:{server.server_address[1]}"

    yield start
    Host.released.set()
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(start_host: Callable[[str], str]) -> str:
    return start_host("127.0.0.1")


def visible(folder: Path) -> set[str]:
    """The names in a folder, without locks."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def from_url(url: str, folder: Path, sha256: str = SHA256) -> Path:
    return fetch([Source(url, sha256)], folder)


@pytest.mark.parametrize("name", ["good", "moved", "unsized", "busy-once", "cut-once", "no-range"])
def test_a_download_is_the_file(server: str, tmp_path: Path, name: str) -> None:
    target = from_url(f"{server}/{name}", tmp_path / "weights", SHA256.upper())
    assert target == tmp_path / "weights" / name
    assert target.read_bytes() == CONTENT
    assert visible(target.parent) == {name}
    assert target.stat().st_mode & 0o444 == 0o444


def test_a_broken_download_goes_on_where_it_stopped(server: str, tmp_path: Path) -> None:
    from_url(f"{server}/cut-once", tmp_path)
    first, second = (headers.get("Range") for headers in requested("cut-once"))
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= len(CONTENT) // 2


def test_what_a_killed_process_had_downloaded_is_kept(server: str, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from zeroshot.downloads.fetch import Source, fetch; "
        f"fetch([Source({f'{server}/stalls'!r}, {SHA256!r})], Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    deadline = time.monotonic() + 30
    part = tmp_path / ".stalls.part"
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    Host.released.set()
    size = part.stat().st_size
    assert not (tmp_path / "stalls").exists()
    with pytest.raises(ZeroshotError):
        from_url(f"{server}/stalls", tmp_path)
    assert f"bytes={size}-" in [headers.get("Range") for headers in requested("stalls")]


@pytest.mark.parametrize("name", REASONS)
def test_a_source_that_fails_is_followed_by_the_next_with_its_own_digest_and_name(
    server: str, tmp_path: Path, name: str
) -> None:
    sources = [Source("http://127.0.0.1:9/dead", SHA256), Source(f"{server}/{name}", SHA256)]
    wrong = Source(f"{server}/good", SHA256)
    assert fetch([*sources, wrong], tmp_path).name == "good"
    assert len(requested("good")) == 1
    assert requested(name)


def test_where_no_source_has_the_file_each_reason_and_a_remedy_are_given(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server)
    urls = [f"https://huggingface.co/{name}" for name in REASONS] + ["http://127.0.0.1:9/dead"]
    with pytest.raises(ZeroshotError) as caught:
        fetch([Source(url, SHA256) for url in urls], tmp_path)
    line = str(caught.value)
    assert "\n" not in line
    assert f"into {tmp_path}" in line
    assert f"missing (sha256 {SHA256[:12]}" in line
    assert "HF_ENDPOINT" in line
    for name, reason in REASONS.items():
        found = line.partition(f"{server}/{name}: ")[2].partition("; http")[0]
        assert reason in found, (name, found)
    assert "dead: it can't be reached" in line
    assert not {name for name in visible(tmp_path) if not name.endswith(".part")}


def test_where_no_source_has_the_file_it_is_named_once_and_a_mirror_is_advised_for_the_hub_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    sources = [Source("http://127.0.0.1:9/one/file.bin", SHA256), Source("http://127.0.0.1:9/two/file.bin", SHA256)]
    with pytest.raises(ZeroshotError) as caught:
        fetch(sources, tmp_path)
    assert str(caught.value).count("file.bin (sha256") == 1
    assert "HF_ENDPOINT" not in str(caught.value)
    with pytest.raises(ZeroshotError, match=r": set HF_ENDPOINT .*, or put file.bin \(sha256 [^)]*\) into "):
        fetch([Source("https://huggingface.co/org/name/resolve/abc/file.bin", SHA256), *sources], tmp_path)


def test_a_file_that_is_there_is_used_without_a_network_or_requests(tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(CONTENT)
    script = (
        "import sys; from pathlib import Path; from zeroshot.downloads.fetch import Source, fetch; "
        f"fetch([Source('http://127.0.0.1:9/file.bin', {SHA256!r})], Path({str(tmp_path)!r})); "
        "sys.exit('requests' in sys.modules or 'mindspore' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)
    assert visible(tmp_path) == {"file.bin"}


def test_a_file_of_any_source_that_is_there_is_used(tmp_path: Path) -> None:
    (tmp_path / "second.bin").write_bytes(CONTENT)
    sources = [Source("http://127.0.0.1:9/first.bin", "0" * 64), Source("http://127.0.0.1:9/second.bin", SHA256)]
    assert fetch(sources, tmp_path) == tmp_path / "second.bin"


def test_another_file_that_is_there_is_neither_used_nor_changed(server: str, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(CHANGED)
    with pytest.raises(ZeroshotError, match=r"good: changed or cut short.*remove it"):
        from_url(f"{server}/good", tmp_path)
    assert (tmp_path / "good").read_bytes() == CHANGED
    assert not Host.requests


def test_the_hubs_host_is_replaced_by_the_endpoint_and_alone_gets_the_token(
    start_host: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, content_host, other = start_host("localhost"), start_host("127.0.0.1"), start_host("127.0.0.1")
    monkeypatch.setattr(Host, "content_host", content_host)
    monkeypatch.setenv("HF_ENDPOINT", hub)
    monkeypatch.setenv("HF_TOKEN", "secret")
    from_url("https://huggingface.co/org/name/resolve/abc/large.bin", tmp_path)
    from_url("https://huggingface.co/org/name/resolve/abc/gated", tmp_path)
    from_url(f"{other}/unsized", tmp_path)
    assert [headers.get("Authorization") for headers in requested("large.bin")] == ["Bearer secret"]
    assert [headers.get("Authorization") for headers in requested("gated")] == ["Bearer secret"]
    assert [headers.get("Authorization") for headers in requested("good")] == [None]  # the content host
    assert [headers.get("Authorization") for headers in requested("unsized")] == [None]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/file", "/etc/passwd", "package:file"])
def test_only_http_is_fetched(tmp_path: Path, url: str) -> None:
    with pytest.raises(ZeroshotError, match="not a URL of http"):
        from_url(url, tmp_path)
    assert visible(tmp_path) == set()


@pytest.mark.parametrize("sha256", ["", "12ab", "sha256:" + SHA256, SHA256[:-1] + "g"])
def test_a_malformed_digest_is_refused(tmp_path: Path, sha256: str) -> None:
    with pytest.raises(ZeroshotError, match="is not a sha256"):
        from_url("http://127.0.0.1:9/dead", tmp_path, sha256)


def test_a_folder_that_cannot_be_written_is_one_line(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ZeroshotError, match="can't be written"):
        from_url(f"{server}/good", tmp_path / "file" / "folder")


def test_a_bar_shows_the_download_on_a_terminal(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from_url(f"{server}/good", tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(download, "on_terminal", lambda: True)
    from_url(f"{server}/unsized", tmp_path)
    assert "unsized" in capsys.readouterr().err


def test_processes_that_need_the_same_file_download_it_once(server: str, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from zeroshot.downloads.fetch import Source, fetch; "
        f"fetch([Source({f'{server}/good'!r}, {SHA256!r})], Path({str(tmp_path)!r}))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(requested("good")) == 1
    assert (tmp_path / "good").read_bytes() == CONTENT


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_an_unsigned_certificate_is_not_trusted(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        url = f"https://127.0.0.1:{http.server_address[1]}/good"
        try:
            with pytest.raises(ZeroshotError, match="TLS certificate is not trusted"):
                from_url(url, tmp_path)
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
            from_url(url, tmp_path)
        finally:
            http.shutdown()


def test_the_digest_of_a_file_is_computed_once_while_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(CONTENT)
    assert digest.sha256_of(path) == SHA256
    monkeypatch.setattr(digest, "update", lambda *_: pytest.fail("it was read again"))
    assert digest.sha256_of(path) == SHA256
    monkeypatch.undo()
    path.write_bytes(CHANGED)
    os.utime(path, ns=(0, 0))
    assert digest.sha256_of(path) == hashlib.sha256(CHANGED).hexdigest()
