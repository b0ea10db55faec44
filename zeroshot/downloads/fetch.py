"""Fetches a file from the first of several sources that has it, once for all processes, its digest checked."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from zeroshot.downloads import digest
from zeroshot.errors import ZeroshotError
from zeroshot.progress import on_terminal

if TYPE_CHECKING:
    import requests

TIMEOUT = (15.0, 60.0)  # seconds to connect, and between two parts of an answer
ATTEMPTS = 3  # at a source whose connection breaks; each goes on where the last one stopped
RETRIES = 2  # at a server that is overloaded, after the time it asks for
OVERLOADED = (429, 502, 503, 504)
PIECE = 1 << 16  # bytes, of which the last is lost where a connection breaks
HUB = "https://huggingface.co"
WEB_PAGE = "a web page came instead of the file"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One address of a file, and the sha256 of what it serves."""

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The last part of the address."""
        return unquote(urlsplit(self.url).path.rsplit("/", 1)[-1])


def fetch(sources: Sequence[Source], folder: Path) -> Path:
    """The file of the first source that is in the folder already or can be fetched into it.

    A file that is there is used without a network once its digest is checked. A download goes to a `.part` file beside
    its target, from which a later attempt, of this process or another, resumes; it gets its name once it is complete
    and its digest right. Of several processes one downloads and the others wait.

    Raises:
        ZeroshotError: no source has the file, with what each answered and what to do by hand; or a file that is there
            has another digest.
    """
    for source in sources:
        if not re.fullmatch("[0-9a-fA-F]{64}", source.sha256):
            raise ZeroshotError(f"'{source.sha256}' is not a sha256 (64 hexadecimal digits), for {source.url}")
        if urlsplit(source.url).scheme.lower() not in ("http", "https"):
            raise ZeroshotError(f"'{source.url}' is not a URL of http or https")
    if (found := _present(sources, folder)) is not None:
        return found
    with locked(folder / (sources[0].file_name if sources else "file")):
        if (found := _present(sources, folder)) is not None:
            return found
        return _fetch_first(sources, folder)


def _present(sources: Sequence[Source], folder: Path) -> Path | None:
    for source in sources:
        target = folder / source.file_name
        if target.is_file():
            found = digest.sha256_of(target)
            if found != source.sha256.lower():
                raise ZeroshotError(
                    f"{target}: changed or cut short (its sha256 is {found}, not {source.sha256.lower()}): "
                    "remove it to download it again, or put the right file there"
                )
            return target
    return None


def _fetch_first(sources: Sequence[Source], folder: Path) -> Path:
    reasons = []
    for source in sources:
        target = folder / source.file_name
        url = _with_endpoint(source.url)
        log.info("downloading %s from %s", target.name, url)
        try:
            reason = _fetch(url, source.sha256.lower(), target)
        except OSError as error:
            raise ZeroshotError(f"{target}: can't be written ({error.strerror or error})") from error
        if reason is None:
            log.info("downloaded %s (%.0f MB)", target, target.stat().st_size / 1e6)
            return target
        log.info("%s: %s", url, reason)
        reasons.append(f"{url}: {reason}")
    files = dict.fromkeys(f"{each.file_name} (sha256 {each.sha256[:12].lower()}…)" for each in sources)
    mirror = ""
    if any(_is_on_hub(each.url) for each in sources):
        mirror = "set HF_ENDPOINT to a mirror of the hub such as https://hf-mirror.com, or "
    raise ZeroshotError(
        f"no source has the file ({'; '.join(reasons)}): {mirror}put {' or '.join(files)} into {folder}"
    )


def _fetch(url: str, sha256: str, target: Path) -> str | None:
    """Tries one source; why it failed, or None once the file has its name."""
    import requests

    part = target.with_name(f".{target.name}.part")
    reason = ""
    with _session(url) as session:
        for _ in range(ATTEMPTS):
            try:
                found = _download(session, url, part)
            except requests.exceptions.HTTPError as error:
                return _http_reason(error)
            except requests.exceptions.RequestException as error:
                reason = _reason(error)
                if not isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.Timeout) and not (
                    isinstance(error, requests.exceptions.ChunkedEncodingError)
                ):
                    return reason
                continue  # what has come stays in the part
            if found == sha256:
                part.chmod(0o644)
                part.replace(target)
                digest.remember(target, sha256)
                return None
            with part.open("rb") as file:
                page = file.read(512).lstrip()[:1] == b"<"
            part.unlink()
            return WEB_PAGE if page else f"what came has another sha256 ({found[:12]}…), and is thrown away"
    return reason


def _download(session: "requests.Session", url: str, part: Path) -> str:
    """Completes a part with what its source has, and returns the sha256 of the whole, which is computed meanwhile."""
    from requests.exceptions import ChunkedEncodingError
    from tqdm import tqdm

    sha256 = hashlib.sha256()
    present = part.stat().st_size if part.exists() else 0
    # a server that compresses what it serves would change its bytes
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={present}-"} if present else {})
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # the part is as long as the file, or longer
            digest.update(sha256, part)
            return sha256.hexdigest()
        answer.raise_for_status()
        resumed = answer.status_code == 206
        if resumed:
            digest.update(sha256, part)
        else:
            present = 0
        length = answer.headers.get("content-length", "")
        total = present + int(length) if length.isdecimal() else None
        bar = tqdm(
            total=total, initial=present, desc=part.name[1:-5], unit="B", unit_scale=True, leave=False,
            disable=not on_terminal(),
        )  # fmt: skip
        with bar, part.open("ab" if resumed else "wb") as file:
            for piece in answer.iter_content(PIECE):
                file.write(piece)
                sha256.update(piece)
                bar.update(len(piece))
            written = file.tell()
    if total is not None and written < total:
        raise ChunkedEncodingError(f"{written} of {total} bytes")
    return sha256.hexdigest()


def _session(url: str) -> "requests.Session":
    """A session that waits where a server is overloaded, and sends the hub's token to the hub's host alone."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(total=10, other=0, connect=0, read=0, redirect=5, status=RETRIES, status_forcelist=OVERLOADED,
                  backoff_factor=0.5, raise_on_status=False)  # fmt: skip
    session = requests.Session()
    session.max_redirects = 5
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", HTTPAdapter(max_retries=retry))
    token = os.environ.get("HF_TOKEN")
    if token and urlsplit(url).netloc == urlsplit(hub_endpoint()).netloc:
        session.auth = _Token(token)  # requests drops it where a redirect leads to another host
    return session


class _Token:
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def hub_endpoint() -> str:
    """The address of the Hugging Face hub, or of the mirror that `HF_ENDPOINT` names."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _with_endpoint(url: str) -> str:
    """The address at the mirror of the hub that `HF_ENDPOINT` names, for an address of the hub."""
    return hub_endpoint() + url.removeprefix(HUB) if _is_on_hub(url) else url


def _is_on_hub(url: str) -> bool:
    return url.startswith(f"{HUB}/")


def _http_reason(error: "requests.exceptions.HTTPError") -> str:
    assert error.response is not None  # `raise_for_status` gives it
    status = error.response.status_code
    if status in (401, 403):
        return f"{status}: it needs a token: accept its terms on its page and set HF_TOKEN"
    if status in OVERLOADED:
        return f"{status}: the server is overloaded; try again later"
    return f"{status} {error.response.reason or ''}".strip()


def _reason(error: Exception) -> str:
    from zeroshot.downloads.http import reason

    return reason(error, TIMEOUT[1])


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds the lock beside `target` for which other processes wait.

    Raises:
        ZeroshotError: its folder can't be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another process that fetches %s", target.name)
            lock.acquire()
    except OSError as error:
        raise ZeroshotError(f"{target}: can't be written ({error.strerror or error})") from error
    try:
        yield
    finally:
        lock.release()
