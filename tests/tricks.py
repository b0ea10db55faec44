"""A web server on this machine that plays all sorts of tricks on those who want a picture."""

import gzip
import io
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

import numpy as np
from PIL import Image

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
