"""A picture from wherever it lies: a file, a URL, a PIL image, an array."""

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zeroshot.data.read_image import open_image, read_image
from zeroshot.errors import ZeroshotError

if TYPE_CHECKING:
    import requests

SCHEMES = ("http", "https")
SECONDS = 30.0  # for the whole of a picture, redirects included
SILENCE = 10.0  # seconds to connect, and between two parts of an answer
LARGEST = 1 << 26  # bytes of a picture behind a URL
REDIRECTS = 5
PIECE = 1 << 14  # bytes

Source = str | Path | Image.Image | NDArray[np.uint8]


def load_image(source: Source) -> Image.Image:
    """The picture behind a path or a URL, or a PIL image or uint8 array [H, W], [H, W, 3] or [H, W, 4]: RGB, upright.

    A URL is one of http or https; its picture must come whole within 30 seconds, 64 MiB and 5 redirects, with status
    200, and over https from a server whose certificate is trusted. What it is, its content says and no header.

    Raises:
        ZeroshotError: it is missing, cut short, damaged, too large or no picture; the line names it.
    """
    if isinstance(source, str):
        if is_url(source):
            return read_image(io.BytesIO(_fetched(source)), source)
        return open_image(Path(source).expanduser())
    return open_image(source.expanduser() if isinstance(source, Path) else source)


def is_url(place: str) -> bool:
    """Whether a text is an address on the web, not a path; `c:/photo.png` and `package:data` are paths."""
    return "://" in place


def _fetched(url: str) -> bytes:
    """The content behind a URL.

    It is fetched in a thread that is left behind when the time is up: neither a server that gives a byte now and then
    nor a name that no one resolves can hold us longer.
    """
    fetch = _Fetch(url)
    thread = threading.Thread(target=fetch.run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        fetch.stop()
        raise ZeroshotError(f"{url}: did not come whole within {SECONDS:g} seconds; save it by hand and give its path")
    if fetch.error is not None:
        raise fetch.error
    return bytes(fetch.content)


class _Fetch:
    """One request and what came of it: `content`, or `error`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.content = bytearray()
        self.error: BaseException | None = None
        self._answer: requests.Response | None = None
        self._stopped = False

    def run(self) -> None:
        import requests

        try:
            with requests.Session() as session, self._followed(session) as self._answer:
                self._read(self._answer)
        except ZeroshotError as error:
            self.error = error
        except requests.exceptions.SSLError:
            self.error = ZeroshotError(f"{self.url}: its TLS certificate is not trusted; save the picture by hand")
        except requests.exceptions.Timeout:
            self.error = ZeroshotError(f"{self.url}: no answer within {SILENCE:g} seconds; check the address")
        except requests.exceptions.ConnectionError as error:
            late = "timed out" in str(error)
            said = f"no answer within {SILENCE:g} seconds" if late else "can't be reached"
            self.error = ZeroshotError(f"{self.url}: {said}; check the address")
        except requests.exceptions.ChunkedEncodingError:
            self.error = ZeroshotError(f"{self.url}: the connection broke off; try again")
        except (requests.exceptions.RequestException, OSError, ValueError) as error:
            self.error = ZeroshotError(f"{self.url}: can't be fetched ({error}); check the address")
        except BaseException as error:  # told where the thread was started
            self.error = error

    def stop(self) -> None:
        """Ends the request as soon as may be."""
        self._stopped = True
        shutdown = getattr(getattr(self._answer, "raw", None), "shutdown", None)  # urllib3 2.3 and later
        if shutdown is not None:
            try:
                shutdown()
            except (OSError, ValueError, RuntimeError):
                return  # it ended by itself

    def _followed(self, session: "requests.Session") -> "requests.Response":
        """The answer at the end of the redirects, its body not read yet."""
        import requests

        url = self.url
        for _ in range(REDIRECTS + 1):
            if urlsplit(url).scheme.lower() not in SCHEMES:
                where = "" if url == self.url else f" leads to {url}, which"
                raise ZeroshotError(f"{self.url}:{where} is not an address of http or https, and no other is read")
            # not by session.get, which reads the whole body of a redirect, however long it is
            request = session.prepare_request(requests.Request("GET", url))
            settings = session.merge_environment_settings(str(request.url), {}, True, None, None)
            answer = session.get_adapter(str(request.url)).send(request, timeout=SILENCE, **settings)
            target = session.get_redirect_target(answer)
            if target is None:
                if answer.status_code != 200:
                    said = f"{answer.status_code} {answer.reason or ''}".strip()
                    raise ZeroshotError(f"{self.url}: the server answers {said}; check the address")
                return answer
            answer.close()
            url = urljoin(url, target)
        raise ZeroshotError(f"{self.url}: leads on more than {REDIRECTS} times; give the address where it ends")

    def _read(self, answer: "requests.Response") -> None:
        too_large = ZeroshotError(f"{self.url}: is larger than {LARGEST >> 20} MiB; save it by hand and shrink it")
        told = answer.headers.get("content-length", "")
        if told.isdecimal() and int(told) > LARGEST:
            raise too_large
        for piece in answer.iter_content(PIECE):
            self.content += piece
            if len(self.content) > LARGEST:
                raise too_large
            if self._stopped:
                return
