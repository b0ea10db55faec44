"""What bounds a run over many cards, computed from measured and assumed figures: the table of docs/scale.md.

python -m tests.benchmarks.scale             # prints the table from scale.json, computes nothing else
python -m tests.benchmarks.scale --measure   # measures on this machine what can be, into scale.json, first
"""

import argparse
import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.benchmarks.pipelines import images
from tests.benchmarks.towers import flops
from zeroshot import results
from zeroshot.classify import Ranking, rank
from zeroshot.clip.image import open_image, transform
from zeroshot.config import architecture, known_models
from zeroshot.data.image_set import ImageSet
from zeroshot.feature_store import DIGEST
from zeroshot.metrics import TOP

DATA = Path(__file__).with_name("results") / "scale.json"
MODELS = ("clip_vit_b_32", "clip_vit_l_14")
CARDS = (1, 8, 64)
SETS = {"10 thousand": 10_000, "1.28 million": 1_281_167, "400 million": 400_000_000}
WIRE_BYTES = TOP * (8 + 8)  # ids and probabilities of an image


def estimate(known: dict[str, Any], model: str, cards: int, count: int) -> dict[str, float]:
    """Seconds of each part of a run; decoding goes on beside encoding and ranking, the others one after another."""
    measured, assumed = known["measured"], {name: each["value"] for name, each in known["assumed"].items()}
    size = architecture(known_models()[model])
    mine, all_bytes = count / cards, count * assumed["image_bytes"]
    digests = measured["digested_bytes_per_s"] * assumed["cores_a_card"]
    store = DIGEST + 4 * size.embed_dim
    return {
        "fingerprint": max(all_bytes / assumed["disk_bytes_per_s"], all_bytes / digests),  # each rank reads all of it
        "decoding": mine / (measured["decoded_per_s"] * assumed["workers"]),
        "encoding": mine * flops(size) / (assumed["card_flops"] * assumed["share"]),
        "ranking": mine / measured["ranked_per_s"],
        "store": mine * store / assumed["disk_bytes_per_s"],
        "gathering": count * WIRE_BYTES / assumed["network_bytes_per_s"],
        "writing": count / measured["rows_per_s"],
    }


def total(parts: dict[str, float]) -> float:
    """Seconds of a run, without its start."""
    together = max(parts["decoding"], parts["encoding"] + parts["ranking"])
    return together + sum(parts[name] for name in ("fingerprint", "store", "gathering", "writing"))


def table(known: dict[str, Any]) -> str:
    """The estimates as a Markdown table, the largest part of each in bold."""
    names = list(estimate(known, MODELS[0], 1, 1))
    lines = [f"| model | images | cards | {' | '.join(names)} | in all |", "|---|---|--:|" + "--:|" * (len(names) + 1)]
    for model in MODELS:
        for label, count in SETS.items():
            for cards in CARDS:
                parts = estimate(known, model, cards, count)
                largest = max(parts, key=lambda name: parts[name])
                cells = [f"**{spelled(parts[name])}**" if name == largest else spelled(parts[name]) for name in names]
                lines.append(f"| {model} | {label} | {cards} | {' | '.join(cells)} | {spelled(total(parts))} |")
    return "\n".join(lines)


def spelled(seconds: float) -> str:
    """A time as people say it."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"


def measure() -> dict[str, Any]:
    """What this machine does in a second, one thread at a time."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = [folder / f"{place}.jpg" for place in range(64)]
        for path, picture in zip(paths, images(0, len(paths)), strict=True):
            picture.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        decoded = _rate(lambda: [transform(open_image(path), 224, "bicubic") for path in paths], len(paths))
        block = os.urandom(1 << 24)
        digested = _rate(lambda: hashlib.sha256(block), len(block))
        rows = 100_000
        classes = tuple(f"class {place}" for place in range(1000))
        drawn = np.random.default_rng(0).standard_normal((512, 512), np.float32)
        embeddings = np.random.default_rng(1).standard_normal((len(classes), 512))
        ranked = _rate(lambda: list(rank([drawn[:256], drawn[256:]], embeddings, 1.0, TOP)), len(drawn))
        labels = np.arange(rows) % len(classes)
        ids = (labels[:, None] + np.arange(TOP)) % len(classes)
        data = ImageSet("drawn", "test", "fine", classes, labels, [], np.arange(rows), "")
        ranking = Ranking(ids, np.full(ids.shape, 1 / len(classes)))
        written = _rate(lambda: results.write_evaluation(folder, data, ranking), rows)
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "decoded_per_s": round(decoded, 1),
        "digested_bytes_per_s": round(digested),
        "ranked_per_s": round(ranked),
        "rows_per_s": round(written),
    }


def _rate(work: Callable[[], object], count: int) -> float:
    """Things a second, the best of some rounds."""
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return count / min(taken)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    known = json.loads(DATA.read_text(encoding="utf-8"))
    if parser.parse_args().measure:
        known["measured"] = measure()
        DATA.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    print(table(known))  # noqa: T201


if __name__ == "__main__":
    main()
