"""Pictures behind paths and URLs; the URLs are those of a server on this machine that plays all sorts of tricks."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zeroshot import images
from zeroshot.errors import ZeroshotError
from zeroshot.images import is_url, load_image

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


class Tricks(BaseHTTPRequestHandler):
    """One path a trick."""

    stopped: threading.Event

    def do_GET(self) -> None:
        name, _, query = self.path.strip("/").partition("?")
        with suppress(BrokenPipeError, ConnectionResetError):  # where the other side has heard enough
            getattr(self, name.replace("-", "_"))(query)

    def log_message(self, *_: object) -> None:
        return

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def good(self, query: str) -> None:
        self.answer(png(), Content_Type="image/png")

    def called_text(self, query: str) -> None:
        self.answer(png(), Content_Type="text/html")

    def page(self, query: str) -> None:
        self.answer(b"<html>no picture</html>", Content_Type="image/png")

    def empty(self, query: str) -> None:
        self.answer(b"")

    def missing(self, query: str) -> None:
        self.answer(png(), 404)

    def no_content(self, query: str) -> None:
        self.answer(b"", 204)

    def redirect(self, query: str) -> None:
        self.answer(b"", 302, Location=query)

    def wordy_redirect(self, query: str) -> None:
        self.send_response(302)
        self.send_header("Location", "/good")
        self.end_headers()
        self.pour()

    def count(self, query: str) -> None:
        self.answer(b"", 301, Location=f"/count?{int(query) - 1}" if int(query) else "/good")

    def circle(self, query: str) -> None:
        self.answer(b"", 307, Location="/circle")

    def cut(self, query: str) -> None:
        self.answer(png()[:-100], Content_Length=str(len(png())))

    def too_short_a_length(self, query: str) -> None:
        self.answer(png(), Content_Length="100")

    def huge_by_its_length(self, query: str) -> None:
        self.answer(png(), Content_Length=str(1 << 40))

    def endless(self, query: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(png())
        self.pour()

    def pour(self) -> None:
        while not self.stopped.is_set():
            self.wfile.write(bytes(1 << 16))

    def packed(self, query: str) -> None:
        import gzip

        self.answer(gzip.compress(bytes(1 << 22)), Content_Encoding="gzip")

    def silent(self, query: str) -> None:
        self.stopped.wait(30)

    def slow(self, query: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(png())))
        self.end_headers()
        self.drip(png())

    def slow_headers(self, query: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        self.drip(b"x" * 1000)

    def drip(self, content: bytes) -> None:
        for byte in content:
            if self.stopped.wait(0.05):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a running server of tricks."""

    class Running(Tricks):
        stopped = threading.Event()

    with ThreadingHTTPServer(("127.0.0.1", 0), Running) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        Running.stopped.set()
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the surroundings stands between the tests and their server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("path", ["good", "good?x=1&y=ü", "called-text", "redirect?/good", "count?4"])
def test_a_picture_comes_as_it_is_whatever_it_is_called(server: str, path: str) -> None:
    assert np.array_equal(np.asarray(load_image(f"{server}/{path}")), PIXELS)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("page", "is no picture"),
        ("empty", "is no picture"),
        ("missing", "404 Not Found"),
        ("no-content", "204 No Content"),
        ("redirect?file:///etc/passwd", "leads to file:///etc/passwd, which is not an address of http or https"),
        ("redirect?ftp://127.0.0.1/good", "is not an address of http or https"),
        ("redirect?http://127.0.0.1:1/good", "can't be reached"),
        ("count?5", "leads on more than 5 times"),
        ("circle", "leads on more than 5 times"),
        ("cut", "broke off"),
        ("too-short-a-length", "cut short"),
        ("huge-by-its-length", "larger than 64 MiB"),
    ],
)
def test_what_is_no_picture_is_told_in_one_line_that_names_it(server: str, path: str, told: str) -> None:
    with pytest.raises(ZeroshotError) as caught:
        load_image(f"{server}/{path}")
    assert str(caught.value).startswith(f"{server}/{path}: ")
    assert told in str(caught.value)


@pytest.mark.parametrize("path", ["endless", "packed"])
def test_a_body_without_end_is_cut_off_by_its_size(server: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGEST", 1 << 20)
    with pytest.raises(ZeroshotError, match="larger than 1 MiB"):
        load_image(f"{server}/{path}")


def test_the_body_of_a_redirect_is_not_waited_for(server: str) -> None:
    assert np.array_equal(np.asarray(load_image(f"{server}/wordy-redirect")), PIXELS)


@pytest.mark.parametrize("path", ["slow", "slow-headers"])
def test_a_server_that_drips_is_left_when_the_time_is_up(
    server: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(ZeroshotError, match=r"did not come whole within 0\.5 seconds"):
        load_image(f"{server}/{path}")
    assert time.monotonic() - started < 20  # it would drip for longer


def test_a_server_that_says_nothing_is_left(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "SILENCE", 0.3)
    with pytest.raises(ZeroshotError, match=r"no answer within 0\.3 seconds"):
        load_image(f"{server}/silent")


def test_a_dripping_body_is_not_read_on_behind_our_back(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "SECONDS", 0.3)
    before = set(threading.enumerate())
    with pytest.raises(ZeroshotError):
        load_image(f"{server}/slow")
    left = [thread for thread in threading.enumerate() if thread not in before and thread.name.endswith("(run)")]
    for thread in left:
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)


@pytest.mark.parametrize("url", ["ftp://a/b.png", "file:///etc/passwd", "FILE://x/y", "data://x", "://"])
def test_other_kinds_of_address_are_refused(url: str) -> None:
    with pytest.raises(ZeroshotError, match="is not an address of http or https"):
        load_image(url)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a b/", "http://" + "a" * 300 + "/", "https://:x/"])
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ZeroshotError):
        load_image(url)


def test_a_certificate_that_nobody_signed_is_not_trusted(server: str) -> None:
    with pytest.raises(ZeroshotError, match=r"https://127.*(certificate|can't be reached)"):
        load_image(server.replace("http:", "https:") + "/good")


def test_paths_arrays_and_pil_images_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png())
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (tmp_path / "a.png", "~/a.png", Path("~/a.png"), PIXELS, Image.fromarray(PIXELS)):
        assert np.array_equal(np.asarray(load_image(source)), PIXELS)
    with pytest.raises(ZeroshotError, match=r"b\.png: there is no such file"):
        load_image(str(tmp_path / "b.png"))


def test_a_path_is_no_url() -> None:
    assert [is_url(text) for text in ("c:/a.png", "package:data", "http:a", "a/b", "HTTP://a")] == [
        *(False, False, False, False),
        True,
    ]
