"""A server that plays Hugging Face, its content host and ModelScope, with the headers and the JSON of the real ones."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from zeroshot.downloads.hub import fetch_repository

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS = (".bin", ".safetensors")  # files that are on the content host


@dataclass
class HubServer:
    """What the server has, and what was asked of it: paths, each with the host's name and the token that came."""

    files: dict[str, bytes]
    repository: str = "org/clip"
    gated: bool = False
    stated: dict[str, str] = field(default_factory=dict)  # digests that differ from the content's
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    address: str = ""
    content_address: str = ""  # the same server by another name, as another host

    def sha256(self, file: str) -> str:
        return self.stated.get(file) or hashlib.sha256(self.files[file]).hexdigest()

    @contextmanager
    def running(self) -> Iterator["HubServer"]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                place = urlsplit(self.path)
                host = (self.headers["Host"] or "").partition(":")[0]
                hub.asked.append((host, place.path, self.headers.get("Authorization")))
                self.answer(place.path, parse_qs(place.query))

            def answer(self, path: str, query: dict[str, list[str]]) -> None:
                parts = path.strip("/").split("/")
                if parts[0] == "content":
                    self.send(200, hub.files[parts[1]])
                elif path.endswith("/repo/files"):
                    self.model_scope(path, query)
                elif hub.repository not in path:
                    self.send(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
                elif hub.gated and self.headers.get("Authorization") != "Bearer secret":
                    self.send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
                elif parts[-3] == "resolve" and parts[-2] in (COMMIT, "main", "master"):
                    self.file(parts[-1])
                elif "revision" in parts and parts[-1] not in ("main", COMMIT):
                    self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
                else:
                    self.listing()

            def listing(self) -> None:
                siblings = []
                for name, content in hub.files.items():
                    entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
                    if name.endswith(LFS):
                        entry["lfs"] = {"sha256": hub.sha256(name), "size": len(content), "pointerSize": 134}
                    siblings.append(entry)
                found = {"_id": "0", "id": hub.repository, "sha": COMMIT, "siblings": siblings, "tags": []}
                self.send(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

            def model_scope(self, path: str, query: dict[str, list[str]]) -> None:
                if hub.repository not in path or query["Revision"] != ["master"]:
                    self.send(404, b'{"Code": 10010205, "Message": "not found"}')
                    return
                files = [{"Path": name, "Type": "blob", "Sha256": hub.sha256(name)} for name in hub.files]
                self.send(200, json.dumps({"Code": 200, "Data": {"Files": files}}).encode())

            def file(self, name: str) -> None:
                if name not in hub.files:
                    self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
                    return
                headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hub.sha256(name)[:40]}"'}
                if name.endswith(LFS):
                    headers |= {"X-Linked-Etag": f'"{hub.sha256(name)}"', "X-Linked-Size": str(len(hub.files[name]))}
                    headers["Location"] = f"{hub.content_address}/content/{name}"
                    self.send(302, b"", headers)
                else:
                    self.send(200, hub.files[name], headers)

            def send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                start = 0
                if status == 200 and (given := self.headers.get("Range")):
                    start, status = int(given.removeprefix("bytes=").split("-")[0]), 206
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                if status == 206:
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body[start:])

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        self.address = f"http://127.0.0.1:{server.server_port}"
        self.content_address = f"http://localhost:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@contextmanager
def only_hub(files: dict[str, bytes], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Runs a hub that stands for both real ones, with caches of its own in a folder, and no token."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZEROSHOT_HOME", str(folder / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "cache"))
    fetch_repository.cache_clear()
    with HubServer(files).running() as running:
        for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
            monkeypatch.setenv(name, running.address)
        yield running
