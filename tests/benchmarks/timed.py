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
    from zeroshot import __main__
    from zeroshot.stages import encoder, evaluate, weights

    spans["imports"] = [(float(started), time.time())]
    spans["python"] = [(float(started), began)]
    for module, function, name in (
        (evaluate, "load_dataset", "data"),
        (weights, "load", "weights"),
        (weights, "file_digest", "digests"),
        (weights, "identify", "digests"),
        (encoder, "load_new_model", "mindspore"),
    ):
        setattr(module, function, timed(name, getattr(module, function)))
    encoder.load_new_model = with_timed_encoder(encoder.load_new_model)
    sys.argv[1:] = arguments
    try:
        return __main__.main()
    finally:
        zero = float(started)
        since = {name: [(begin - zero, end - zero) for begin, end in each] for name, each in spans.items()}
        Path(file).write_text(json.dumps(since), encoding="utf-8")


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its calls timed under a name."""

    @wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        begin = time.time()
        try:
            return function(*arguments, **named)
        finally:
            spans.setdefault(name, []).append((begin, time.time()))

    return wrapped


def with_timed_encoder(load: Callable[..., Any]) -> Callable[..., Any]:
    """`load_new_model` with an encoder whose texts, batches and towers are timed."""

    def wrapped(*arguments: Any) -> Any:
        loaded = load(*arguments)
        kind = type(loaded.encoder)
        for name in ("_text_tower", "_image_tower"):
            timed_tower = cached_property(tower(name, kind.__dict__[name].func))
            timed_tower.__set_name__(kind, name)
            setattr(kind, name, timed_tower)
        loaded.encoder.encode_text = timed("texts", loaded.encoder.encode_text)
        loaded.encoder.feature_batches = batches(loaded.encoder.feature_batches)
        return loaded

    return wrapped


def tower(name: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """What builds a tower, timed, as are the calls of the tower."""
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
    """`feature_batches`, with the time when each batch was ready."""

    def wrapped(*arguments: Any) -> Iterator[Any]:
        begin = time.time()
        for batch in encode(*arguments):
            spans.setdefault("batches", []).append((begin, time.time()))
            yield batch
            begin = time.time()

    return wrapped


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
