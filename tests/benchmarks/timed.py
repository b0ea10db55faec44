"""The command line with a stopwatch: `python tests/benchmarks/timed.py FILE STARTED ARGUMENTS…`.

It does what `python -m zeroshot ARGUMENTS` does and writes into FILE, as JSON, when each stage began and ended, in
seconds since STARTED (`time.time()` before the process began); a tower's calls stand there one by one.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cached_property, wraps
from pathlib import Path
from typing import Any

spans: dict[str, list[tuple[float, float]]] = {}


def main(file: str, started: str, *arguments: str) -> int:
    """Runs the command with its stages timed."""
    began = time.time()
    from zeroshot import __main__, run
    from zeroshot.models.checkpoints import checkpoint as weights
    from zeroshot.stages import parts

    spans["imports"] = [(float(started), time.time())]
    spans["python"] = [(float(started), began)]
    run.load_data = timed("data", run.load_data)  # type: ignore[attr-defined]
    weights.load = timed("weights", weights.load)
    weights.file_digest = timed("digests", weights.file_digest)
    weights.identify = timed("digests", weights.identify)
    parts.build = built(timed("mindspore", parts.build))
    sys.argv[1:] = arguments
    try:
        return __main__.main()
    finally:
        zero = float(started)
        since = {name: [(begin - zero, end - zero) for begin, end in each] for name, each in spans.items()}
        Path(file).write_text(json.dumps(since), encoding="utf-8")


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its calls noted under a name."""

    @wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        begin = time.time()
        try:
            return function(*arguments, **named)
        finally:
            spans.setdefault(name, []).append((begin, time.time()))

    return wrapped


def built(build: Callable[..., Any]) -> Callable[..., Any]:
    """`parts.build` with an encoder whose texts, batches and towers are timed."""

    def wrapped(*arguments: Any) -> Any:
        encoder, described = build(*arguments)
        kind = type(encoder)
        for name in ("_text_tower", "_image_tower"):
            made = cached_property(tower(name, kind.__dict__[name].func))
            made.__set_name__(kind, name)
            setattr(kind, name, made)
        encoder.encode_text = timed("texts", encoder.encode_text)
        encoder.image_batches = batches(encoder.image_batches)
        return encoder, described

    return wrapped


def tower(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """What makes a tower, timed, as are the calls of the tower that it gives."""
    making = timed(f"{name} made", make)
    return lambda encoder: waited(f"{name} called", making(encoder))


def waited(name: str, compiled: Callable[..., Any]) -> Callable[..., Any]:
    """A tower whose calls are timed until their result is there."""

    def call(*inputs: Any) -> Any:
        result = compiled(*inputs)
        result.asnumpy()
        return result

    return timed(name, call)


def batches(encode: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """`image_batches`, when each batch was ready noted."""

    def wrapped(*arguments: Any) -> Iterator[Any]:
        begin = time.time()
        for batch in encode(*arguments):
            spans.setdefault("batches", []).append((begin, time.time()))
            yield batch
            begin = time.time()

    return wrapped


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
