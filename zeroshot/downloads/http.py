"""HTTP through requests: what went wrong as a few words, and small files whole within bounds."""

import threading
import time
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

import requests

from zeroshot.errors import ZeroshotError

SCHEMES = ("http", "https")
SILENCE = 10.0  # seconds to connect, and between two parts of an answer
REDIRECTS = 5
PIECE = 1 << 14  # bytes


def is_url(text: str) -> bool:
    """Whether a text is a URL and not a path; `c:/photo.png` and `package:data` are paths."""
    return "://" in text


def reason(error: Exception, timeout: float | None = None) -> str:
    """An error of requests in a few words; `timeout` is the one that was set, by default `SILENCE`."""
    timeout = SILENCE if timeout is None else timeout
    match error:
        case requests.exceptions.SSLError():
            return "its TLS certificate is not trusted"
        case requests.exceptions.TooManyRedirects() | requests.exceptions.InvalidSchema():
            return str(error)
        case requests.exceptions.Timeout():
            return f"no answer within {timeout:g} seconds"
        case requests.exceptions.ChunkedEncodingError() | requests.exceptions.ContentDecodingError():
            return "the connection broke off"
        case requests.exceptions.ConnectionError():
            return f"no answer within {timeout:g} seconds" if "timed out" in str(error) else "it can't be reached"
        case requests.exceptions.HTTPError():
            return str(error).partition(" for url")[0]
    return " ".join(str(error).split()) or type(error).__name__


def read_url(url: str, *, max_bytes: int, seconds: float) -> bytes:
    """The content at a URL of http or https, at most so many bytes, within so many seconds in all.

    Raises:
        ZeroshotError: it can't be fetched; the line begins with the URL.
    """
    result: list[bytes | Exception] = []
    answers: list[requests.Response] = []

    def fetch() -> None:
        try:
            with requests.Session() as session, follow_redirects(session, url) as answer:
                answers.append(answer)
                result.append(_read(answer, url, max_bytes, time.monotonic() + seconds))
        except Exception as error:  # reported by the calling thread
            result.append(error)

    # A server that sends a byte now and then, or a name that is never resolved, must not hold the caller longer.
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(seconds)
    found = result[0] if result else TimeoutError()
    if answers and hasattr(answers[0].raw, "shutdown"):
        with suppress(OSError, ValueError, RuntimeError):  # it has ended by itself
            answers[0].raw.shutdown()
    if isinstance(found, bytes):
        return found
    if isinstance(found, ZeroshotError):
        raise found
    if isinstance(found, TimeoutError):
        raise ZeroshotError(f"{url}: not complete within {seconds:g} seconds; save the file and give its path")
    raise ZeroshotError(f"{url}: {reason(found)}; check the address, or save the file and give its path") from found


def follow_redirects(session: requests.Session, url: str) -> requests.Response:
    """The answer at the end of at most `REDIRECTS` redirects, its body not read yet.

    `Session.get` would read the whole body of a redirect, however long it is.

    Raises:
        requests.exceptions.RequestException: a redirect too many, an address of another scheme, no connection.
    """
    for _ in range(REDIRECTS + 1):
        if urlsplit(url).scheme.lower() not in SCHEMES:
            raise requests.exceptions.InvalidSchema(f"{url} is not an address of http or https")
        request = session.prepare_request(requests.Request("GET", url))
        settings = session.merge_environment_settings(str(request.url), {}, True, None, None)
        answer = session.get_adapter(str(request.url)).send(request, timeout=SILENCE, **settings)
        target = session.get_redirect_target(answer)
        if target is None:
            return answer
        answer.close()
        url = urljoin(url, target)
    raise requests.exceptions.TooManyRedirects(f"more than {REDIRECTS} redirects")


def _read(answer: requests.Response, url: str, max_bytes: int, deadline: float) -> bytes:
    if answer.status_code != 200:
        status = f"{answer.status_code} {answer.reason or ''}".strip()
        raise ZeroshotError(f"{url}: the server answers {status}; check the address")
    too_large = ZeroshotError(f"{url}: larger than {max_bytes >> 20} MiB; save the file and give its path")
    length = answer.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large
    content = bytearray()
    for piece in answer.iter_content(PIECE):
        content += piece
        if len(content) > max_bytes:
            raise too_large
        if time.monotonic() > deadline:
            raise TimeoutError(url)
    return bytes(content)
