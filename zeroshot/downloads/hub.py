"""Repositories of the model hubs by name: `hf:ORG/NAME[@REVISION]` of Hugging Face, `ms:…` of ModelScope."""

import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from zeroshot.downloads import digest
from zeroshot.downloads.fetch import TIMEOUT, Source, fetch, hub_endpoint
from zeroshot.errors import ZeroshotError
from zeroshot.progress import on_terminal

MODEL_SCOPE = "https://www.modelscope.cn"
NAME = re.compile(r"(hf|ms):([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
COMMIT = re.compile("[0-9a-f]{40}")
INDEX = ".index.json"  # how the names of indices of shards end

log = logging.getLogger(__name__)


def is_hub_name(text: str) -> bool:
    """Whether a text is meant as the name of a repository and not as a path."""
    return text.startswith(("hf:", "ms:"))


@cache
def fetch_repository(
    name: str, weights: Sequence[str], configs: Sequence[str], folder: Path, needed: Sequence[str] = ()
) -> Path:
    """The folder of a repository's files: the first of `weights` that it has, its shards, and those of `configs`.

    Hugging Face's are in the cache that its own library and other tools share (`HF_HOME`), ModelScope's in `folder`.
    Each file has the digest that the hub states. Without a network, or where a commit is named, files that are there
    are used; one of `needed`, which are among `configs`, must be there too, unless there is no network. `HF_ENDPOINT`
    and `MODELSCOPE_ENDPOINT` replace the hubs' hosts; `HF_TOKEN` is sent to the former.

    Raises:
        ZeroshotError: the repository does not exist, needs a token or can't be reached, or has no weights.
    """
    parsed = NAME.fullmatch(name)
    if parsed is None:
        raise ZeroshotError(f"{name} is not the name of a repository: type hf:ORG/NAME or hf:ORG/NAME@REVISION")
    hub, repository, revision = parsed.groups()
    if hub == "ms":
        return _model_scope(name, repository, revision or "master", weights, configs, folder)
    return _hugging_face(name, repository, revision or "main", weights, configs, needed)


def is_present(name: str, weights: Sequence[str], folder: Path) -> bool:
    """Whether weights of a repository are on this machine; asks no network."""
    parsed = NAME.fullmatch(name)
    if parsed is None:
        return False
    hub, repository, revision = parsed.groups()
    if hub == "hf":
        return _cached(repository, revision or "main", weights) is not None
    return any((folder / "modelscope" / repository / (revision or "master") / file).is_file() for file in weights)


def _hugging_face(
    name: str,
    repository: str,
    revision: str,
    weights: Sequence[str],
    configs: Sequence[str],
    needed: Sequence[str],
) -> Path:
    import huggingface_hub as hub
    from huggingface_hub import errors
    from huggingface_hub.utils import disable_progress_bars

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not on_terminal():
        disable_progress_bars()
    cached = _cached(repository, revision, weights)
    whole = cached is not None and (not needed or any((cached / file).is_file() for file in needed))
    if cached is not None and whole and COMMIT.fullmatch(revision):
        return cached
    endpoint = hub_endpoint()
    try:
        found = hub.HfApi(endpoint=endpoint).repo_info(
            repository, revision=revision, files_metadata=True, timeout=TIMEOUT[0]
        )
        digests = {each.rfilename: each.lfs.sha256 if each.lfs else "" for each in found.siblings or ()}

        def get(file: str) -> Path:
            path = Path(hub.hf_hub_download(repository, file, revision=revision, endpoint=endpoint))
            if digests[file] and digest.sha256_of(path) != digests[file]:
                path.resolve().unlink()
                raise ZeroshotError(f"{name}: {file} came with another sha256 than the hub states: try again")
            return path

        return _get(name, digests, weights, configs, get)
    except ZeroshotError:
        raise
    except errors.GatedRepoError as error:
        raise ZeroshotError(f"{name} needs a token: accept its terms on its page and set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise ZeroshotError(f"{name}: the repository has no revision {revision}") from error
    except errors.RepositoryNotFoundError as error:
        raise ZeroshotError(f"{name}: no such repository, or it is private: check the name, or set HF_TOKEN") from error
    except Exception as error:  # the library's own, its HTTP client's and the system's
        if cached is not None:
            log.warning("%s: %s can't be reached; its files in the cache are used", name, endpoint)
            return cached
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ZeroshotError(
            f"{name} can't be fetched from {endpoint} ({reason}): set HF_ENDPOINT to a mirror such as "
            "https://hf-mirror.com, or put its files into a folder and type model.weights.path=FOLDER"
        ) from error


def _cached(repository: str, revision: str, weights: Sequence[str]) -> Path | None:
    """The folder of the cache that has the repository's weights at this revision."""
    from huggingface_hub import try_to_load_from_cache

    for file in weights:
        path = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(path, str):
            return Path(path).parent
    return None


def _model_scope(
    name: str, repository: str, revision: str, weights: Sequence[str], configs: Sequence[str], folder: Path
) -> Path:
    import requests

    from zeroshot.downloads.http import reason

    endpoint = (os.environ.get("MODELSCOPE_ENDPOINT") or MODEL_SCOPE).rstrip("/")
    target = folder / "modelscope" / repository / revision
    try:
        answer = requests.get(
            f"{endpoint}/api/v1/models/{repository}/repo/files",
            params={"Revision": revision, "Recursive": "true"},
            timeout=TIMEOUT,
        )
        answer.raise_for_status()
        digests = {str(each["Path"]): str(each["Sha256"]) for each in answer.json()["Data"]["Files"] if each["Sha256"]}
    except (requests.exceptions.RequestException, ValueError, KeyError, TypeError) as error:
        if any((target / file).is_file() for file in weights):
            log.warning("%s: %s can't be reached; the files in %s are used", name, endpoint, target)
            return target
        raise ZeroshotError(
            f"{name}: the list of its files can't be had from {endpoint} ({reason(error)}): check the name, or put its "
            "files into a folder and type model.weights.path=FOLDER"
        ) from error

    def get(file: str) -> Path:
        return fetch([Source(f"{endpoint}/models/{repository}/resolve/{revision}/{file}", digests[file])], target)

    return _get(name, digests, weights, configs, get)


def _get(
    name: str,
    files: Mapping[str, str],
    weights: Sequence[str],
    configs: Sequence[str],
    get: Callable[[str], Path],
) -> Path:
    """Gets the first of the weights, its shards and the configs; their folder."""
    chosen = next((file for file in weights if file in files), None)
    if chosen is None:
        raise ZeroshotError(f"{name} has none of {', '.join(weights)}: it is not a CLIP in a layout that is read")
    for config in configs:
        if config in files:
            get(config)
    log.info("getting %s of %s", chosen, name)
    path = get(chosen)
    if chosen.endswith(INDEX):
        try:
            shards = {str(shard) for shard in json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise ZeroshotError(f"{path} is not an index of shards") from error
        for shard in sorted(shards):
            if shard not in files:
                raise ZeroshotError(f"{name} lacks {shard}, which its {chosen} names")
            get(shard)
    return path.parent
