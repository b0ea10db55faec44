"""Images behind paths and URLs; the URLs are those of a server on this machine that plays tricks."""

import contextlib
import io
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.tricks import PIXELS, png
from zeroshot.data import image_source as images
from zeroshot.data.image_source import load_image
from zeroshot.downloads import http
from zeroshot.downloads.http import is_url
from zeroshot.errors import ZeroshotError


@pytest.mark.parametrize("path", ["good", "good?x=1&y=ü", "called-text", "redirect?/good", "count?4"])
def test_an_image_is_recognised_by_its_content_whatever_its_name_and_type(server: str, path: str) -> None:
    assert np.array_equal(np.asarray(load_image(f"{server}/{path}")), PIXELS)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("page", "is not an image"),
        ("empty", "is not an image"),
        ("missing", "404 Not Found"),
        ("no-content", "204 No Content"),
        ("redirect?file:///etc/passwd", "file:///etc/passwd is not an address of http or https"),
        ("redirect?ftp://127.0.0.1/good", "is not an address of http or https"),
        ("redirect?http://127.0.0.1:1/good", "can't be reached"),
        ("count?5", "more than 5 redirects"),
        ("circle", "more than 5 redirects"),
        ("cut", "broke off"),
        ("too-short-a-length", "cut short"),
        ("huge-by-its-length", "larger than 64 MiB"),
    ],
)
def test_what_is_not_an_image_is_one_line_that_begins_with_the_url(server: str, path: str, expected: str) -> None:
    with pytest.raises(ZeroshotError) as caught:
        load_image(f"{server}/{path}")
    assert str(caught.value).startswith(f"{server}/{path}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize("path", ["endless", "packed"])
def test_a_body_without_end_is_refused_by_its_size(server: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGEST", 1 << 20)
    with pytest.raises(ZeroshotError, match="larger than 1 MiB"):
        load_image(f"{server}/{path}")


def test_the_body_of_a_redirect_is_not_waited_for(server: str) -> None:
    assert np.array_equal(np.asarray(load_image(f"{server}/wordy-redirect")), PIXELS)


@pytest.mark.parametrize("path", ["slow", "slow-headers"])
def test_a_server_that_drips_is_given_up_when_the_time_is_up(
    server: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "SECONDS", 0.5)
    started = time.monotonic()
    with pytest.raises(ZeroshotError, match=r"not complete within 0\.5 seconds"):
        load_image(f"{server}/{path}")
    assert time.monotonic() - started < 20  # it would drip for longer


def test_a_silent_server_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SILENCE", 0.3)
    with pytest.raises(ZeroshotError, match=r"no answer within 0\.3 seconds"):
        load_image(f"{server}/silent")


def test_a_dripping_body_is_not_read_on_in_the_background(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "SECONDS", 0.3)
    before = set(threading.enumerate())
    with pytest.raises(ZeroshotError):
        load_image(f"{server}/slow")
    left = [thread for thread in threading.enumerate() if thread not in before and "fetch" in thread.name]
    for thread in left:
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)


@pytest.mark.parametrize("url", ["ftp://a/b.png", "file:///etc/passwd", "FILE://x/y", "data://x", "://"])
def test_other_kinds_of_address_are_refused(url: str) -> None:
    with pytest.raises(ZeroshotError, match="is not an address of http or https"):
        load_image(url)


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a b/", "http://" + "a" * 300 + "/", "https://:x/"])
def test_a_malformed_address_is_refused(url: str) -> None:
    with pytest.raises(ZeroshotError):
        load_image(url)


def test_an_unsigned_certificate_is_not_trusted(server: str) -> None:
    with pytest.raises(ZeroshotError, match=r"https://127.*(certificate|can't be reached)"):
        load_image(server.replace("http:", "https:") + "/good")


def test_paths_arrays_and_pil_images_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png())
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (tmp_path / "a.png", "~/a.png", Path("~/a.png"), PIXELS, Image.fromarray(PIXELS)):
        assert np.array_equal(np.asarray(load_image(source)), PIXELS)
    with pytest.raises(ZeroshotError, match=r"b\.png: there is no such file"):
        load_image(str(tmp_path / "b.png"))
    for nobodys in ("~nobody-at-all/b.png", Path("~$b.png"), "~\0"):
        with pytest.raises(ZeroshotError, match=r"^~"):
            load_image(nobodys)


def test_a_path_is_distinguished_from_a_url() -> None:
    assert [is_url(text) for text in ("c:/a.png", "package:data", "http:a", "a/b", "HTTP://a")] == [
        *(False, False, False, False),
        True,
    ]


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, io.BytesIO], ids=lambda each: each.__name__)
def test_bytes_and_files_are_read(wrap: Any) -> None:
    assert np.array_equal(np.asarray(load_image(wrap(png()))), PIXELS)


def test_every_second_byte_of_a_buffer_is_read() -> None:
    spread = bytearray(2 * len(png()))
    spread[::2] = png()
    assert np.array_equal(np.asarray(load_image(memoryview(spread)[::2])), PIXELS)


def test_a_file_object_is_read_and_left_open(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    with (tmp_path / "a.png").open("rb") as file:
        assert np.array_equal(np.asarray(load_image(file)), PIXELS)
        assert not file.closed


def test_arrays_of_floats_are_from_0_to_1(tmp_path: Path) -> None:
    assert np.array_equal(np.asarray(load_image((PIXELS / 255).astype(np.float32))), PIXELS)
    for wrong in (PIXELS.astype(np.float32), PIXELS / 255 - 1, np.full((2, 2), np.nan)):
        with pytest.raises(ZeroshotError, match=r"scale it to 0 … 1"):
            load_image(wrong)


@pytest.mark.parametrize("wrong", [7, True, None, {"a": 1}, {1}, [[0, 1]], 1.5, ("a.png",)], ids=repr)
def test_other_types_are_refused_by_their_type(wrong: Any) -> None:
    with pytest.raises(ZeroshotError, match=f"can't be of type {type(wrong).__name__}"):
        load_image(wrong)


def test_a_file_descriptor_is_neither_read_nor_closed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    descriptor = os.open(tmp_path / "a.png", os.O_RDONLY)
    with pytest.raises(ZeroshotError, match="of type int"):
        load_image(descriptor)  # type: ignore[arg-type]
    assert os.read(descriptor, 4) == png()[:4]
    os.close(descriptor)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "lzma", "zstd", "jpeg"])
def test_libtiff_writes_nothing_to_the_terminal(
    compression: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(content, "TIFF", compression=compression)
    damaged = bytearray(content.getvalue())
    for place in range(60, 4000, 7):
        damaged[place] ^= 0xFF
    (tmp_path / "damaged.tif").write_bytes(damaged)
    with contextlib.suppress(ZeroshotError):  # of some compressions damage can't be noticed
        load_image(tmp_path / "damaged.tif")
    assert capfd.readouterr() == ("", "")
