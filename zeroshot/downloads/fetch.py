"""Fetches files by URL and digest, once for all processes, and unpacks archives with their paths checked."""

import gzip
import logging
import re
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.checkpoint import file_digest

TIMEOUT = (15.0, 60.0)  # seconds to connect, and between two parts of an answer
ATTEMPTS = 2  # at a mirror whose connection breaks
PAUSE = 1.0  # seconds between two attempts
LARGEST = 2**30  # bytes that an archive may unpack to: CIFAR takes 186 MB
MOST_FILES = 10_000

log = logging.getLogger(__name__)


def fetch(urls: Sequence[str], sha256: str, target: Path, *, progress: bool) -> Path:
    """Return `target`, a file with this sha256, downloaded from the first URL that gives it if it is not there yet.

    A file that is there is used without a network once its digest is checked. A download goes into a folder
    beside `target` and is moved there when it is whole and its digest right. Of several processes that want the same
    file one downloads it and the others wait. Raises ZeroshotError where no mirror gives the file, with the reason of
    each and what to do by hand, and where the file that is there is another.
    """
    if not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ZeroshotError(f"'{sha256}' is not a sha256 for {target.name}: 64 hexadecimal digits are")
    for url in urls:
        if urlsplit(url).scheme.lower() not in ("http", "https"):
            raise ZeroshotError(f"'{url}' is not a URL of http or https: {target.name} is fetched from no other")
    sha256 = sha256.lower()
    if _is_there(target, sha256):
        return target
    with _lock(target):
        if not _is_there(target, sha256):
            _download(urls, sha256, target, progress)
    return target


def _is_there(target: Path, sha256: str) -> bool:
    if not target.is_file():
        return False
    digest = file_digest(target)
    if digest != sha256:
        raise ZeroshotError(
            f"{target}: not used: it is altered or cut short, for its sha256 is {digest}, not {sha256}; "
            "remove it to download it again, or put the right file there"
        )
    return True


def _download(urls: Sequence[str], sha256: str, target: Path, progress: bool) -> None:
    reasons = []
    for url in urls:
        log.info("downloading %s from %s", target.name, url)
        reason = _from_mirror(url, sha256, target, progress)
        if reason is None:
            log.info("downloaded %s (%.0f MB)", target, target.stat().st_size / 1e6)
            return
        log.info("not from %s: %s", url, reason)
        reasons.append(f"{url}: {reason}")
    raise ZeroshotError(
        f"{target.name} could not be downloaded ({'; '.join(reasons) or 'no URL is given'}); where there is a network, "
        f"get it by hand and put it at {target} (its sha256 is {sha256})"
    )


def _from_mirror(url: str, sha256: str, target: Path, progress: bool) -> str | None:
    """Try one mirror; the reason why it gave nothing, or None once the file is in its place."""
    import pooch  # type: ignore[import-untyped]  # takes a while, and few runs download
    import requests
    from tqdm import tqdm

    pooch.get_logger().setLevel("WARNING")  # it would repeat our own lines
    part = target.with_name(f".{target.name}.part")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        try:
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed: the lock is ours
            # with total=0 the bar is falsy, which pooch takes for none
            with tqdm(total=1, desc=target.name, unit="B", unit_scale=True, leave=False, disable=not progress) as bar:
                # a server may pack on the way what it serves, and what is then unpacked here has another digest
                headers = {"Accept-Encoding": "identity"}
                get = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**20, timeout=TIMEOUT, headers=headers)
                pooch.retrieve(url, f"sha256:{sha256}", fname=target.name, path=part, downloader=get)
            (part / target.name).chmod(0o644)  # a temporary file is its owner's alone
            (part / target.name).replace(target)
            return None
        except requests.exceptions.SSLError:
            return "its TLS certificate is not trusted"
        except requests.exceptions.HTTPError as error:
            return str(error).partition(" for url")[0]
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            reason = "the connection broke off, and the part that came is thrown away"
        except requests.exceptions.Timeout:
            reason = f"no answer in {TIMEOUT[1]:.0f} seconds"
        except requests.exceptions.ConnectionError as error:
            late = "timed out" in str(error)
            reason = f"no answer in {TIMEOUT[1]:.0f} seconds" if late else "it cannot be reached"
        except requests.exceptions.RequestException as error:
            return str(error) or type(error).__name__
        except ValueError:  # pooch's word for another digest; it has removed the file
            return "what came has another sha256, was altered or is an error page, and is thrown away"
        except OSError as error:
            raise ZeroshotError(f"{target}: cannot be written ({error.strerror or error})") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return reason


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Hold the file beside `target` that tells other processes to wait."""
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
        raise ZeroshotError(f"{target}: cannot be written ({error.strerror or error})") from error
    try:
        yield
    finally:
        lock.release()


def unpack(archive: Path, folder: Path) -> Path:
    """Make the one top folder of a `.tar.gz` the folder `folder`, whole or not at all, and return that.

    A folder that is there with something in it is left as it is. Files and folders alone are unpacked: an absolute
    path, `..`, a link, a device, a name that occurs twice, more than `MOST_FILES` files or `LARGEST` bytes end it with
    a ZeroshotError, as does an archive that is cut short or damaged.
    """
    with _lock(folder):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
        try:
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
                content = Path(temporary, "content")
                content.mkdir()
                with _Bounded(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                    _extract(tar, content)
                content.rename(folder)
        except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
            raise ZeroshotError(f"{archive}: cannot be unpacked into {folder}: {error}") from error
    return folder


def _extract(tar: tarfile.TarFile, content: Path) -> None:
    """Write the members below the archive's top folder into `content`; ValueError for one that has no place there."""
    top, count, size = None, 0, 0
    for member in tar:
        parts = PurePosixPath(member.name).parts
        if not parts and member.isdir():
            continue
        if not parts or parts[0] == "/" or ".." in parts or re.search(r"[\\:\0]", member.name):
            raise ValueError(f"its member '{member.name}' leads out of the folder")
        if not (member.isreg() or member.isdir()):
            raise ValueError(f"its member '{member.name}' is a link or a device")
        top, count, size = top or parts[0], count + 1, size + member.size
        if parts[0] != top or (len(parts) == 1 and not member.isdir()):
            raise ValueError(f"its member '{member.name}' lies outside its folder '{top}'")
        if count > MOST_FILES or size > LARGEST:
            raise ValueError(f"it holds more than {MOST_FILES} files or {LARGEST} bytes")
        place = content.joinpath(*parts[1:])
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        source = tar.extractfile(member)
        with place.open("xb") as written:
            if source is not None:
                shutil.copyfileobj(source, written)
        if place.stat().st_size != member.size:
            raise ValueError(f"its member '{member.name}' is cut short")
    if not count:
        raise ValueError("it is empty")


class _Bounded(gzip.GzipFile):
    """A gzip file that ends in a ValueError where more than `LARGEST` bytes, and what tar adds to them, come out."""

    def read(self, size: int | None = -1) -> bytes:
        block = super().read(size)
        if self.tell() > LARGEST + 2048 * MOST_FILES:
            raise ValueError(f"it unpacks to more than {LARGEST} bytes")
        return block
