"""Writes small CIFARs for the tests, in each layout, as Python 2 and Python 3 would."""

import pickle
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FINE = [f"fine_{n}" for n in range(6)]
COARSE = [f"coarse_{n}" for n in range(3)]
TEN = [f"ten_{n}" for n in range(4)]
FILES_100 = {"train": ["train"], "test": ["test"]}
FILES_10 = {"train": [f"data_batch_{n}" for n in range(1, 6)], "test": ["test_batch"]}

Rows = NDArray[np.uint8]


def rows(count: int, seed: int = 0) -> Rows:
    """Pixels [count, 3072], planes of red, green and blue."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def fine_labels(count: int) -> list[int]:
    return [(5 * n + 2) % len(FINE) for n in range(count)]


def cifar100_batch(count: int = 12, seed: int = 0) -> dict[str, object]:
    fine = fine_labels(count)
    return {
        "filenames": [f"picture_{n}.png" for n in range(count)],
        "batch_label": "testing batch 1 of 1",
        "fine_labels": fine,
        "coarse_labels": [label // 2 for label in fine],
        "data": rows(count, seed),
    }


def cifar100_meta() -> dict[str, object]:
    return {"fine_label_names": FINE, "coarse_label_names": COARSE}


def python2(value: object) -> bytes:
    """The value as Python 2's cPickle writes it at protocol 2, with numpy's names of that time."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: object) -> bytes:
    match value:
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if 0 <= value < 256:
            return b"K" + bytes([value])
        case int():
            return b"J" + struct.pack("<i", value)
        case str() if len(value) < 256:
            return b"U" + bytes([len(value)]) + value.encode("latin-1")
        case bytes():
            return b"T" + struct.pack("<I", len(value)) + value
        case list():
            return b"](" + b"".join(map(_python2, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_python2(key) + _python2(item) for key, item in value.items()) + b"u"
        case np.ndarray():
            made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
            shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
            kind = b"cnumpy\ndtype\n(" + _python2(value.dtype.str[1:]) + b"K\x00K\x01tR"
            kind += b"(K\x03" + _python2(value.dtype.str[0]) + b"NNN" + _python2(-1) * 2 + b"K\x00tb"
            return made + b"(K\x01" + shape + kind + b"\x89" + _python2(value.tobytes()) + b"tb"
    raise TypeError(type(value))


def python3(value: object, protocol: int, byte_keys: bool = False) -> bytes:
    """The value as this Python writes it, as it is or as one gets it from `pickle.load(file, encoding="bytes")`."""
    return pickle.dumps(_bytes(value) if byte_keys else value, protocol)


def _bytes(value: object) -> object:
    match value:
        case str():
            return value.encode()
        case list():
            return [_bytes(item) for item in value]
        case dict():
            return {_bytes(key): _bytes(item) for key, item in value.items()}
    return value


def write_cifar100_python(root: Path, count: int = 12) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "meta").write_bytes(python2(cifar100_meta()))
    (root / "test").write_bytes(python2(cifar100_batch(count)))
    (root / "train").write_bytes(python2(cifar100_batch(2 * count, seed=1)))
    return root


def write_cifar100_binary(root: Path, count: int = 12) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "fine_label_names.txt").write_text("".join(f"{name}\n" for name in FINE))
    (root / "coarse_label_names.txt").write_text("".join(f"{name}\n" for name in COARSE))
    for file, size, seed in (("test.bin", count, 0), ("train.bin", 2 * count, 1)):
        fine = np.array(fine_labels(size), dtype=np.uint8)
        (root / file).write_bytes(np.column_stack([fine // 2, fine, rows(size, seed)]).tobytes())
    return root


def write_cifar10_python(root: Path, count: int = 8) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "batches.meta").write_bytes(python2({"num_cases_per_batch": count, "label_names": TEN, "num_vis": 3072}))
    for seed, file in enumerate(FILES_10["test"] + FILES_10["train"]):
        (root / file).write_bytes(python2({"labels": [n % 4 for n in range(count)], "data": rows(count, seed)}))
    return root


def write_cifar10_binary(root: Path, count: int = 8) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "batches.meta.txt").write_text("".join(f"{name}\n" for name in TEN) + "\n")  # its last line is blank
    labels = np.arange(count, dtype=np.uint8) % 4
    for seed, file in enumerate(FILES_10["test"] + FILES_10["train"]):
        (root / f"{file}.bin").write_bytes(np.column_stack([labels, rows(count, seed)]).tobytes())
    return root
