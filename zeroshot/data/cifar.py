"""CIFAR-100 and CIFAR-10 in the Python and the binary layout (https://www.cs.toronto.edu/~kriz/cifar.html)."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from zeroshot.data import array_pickle, class_names
from zeroshot.data.image_set import ImageSet, Picture, fingerprint, refuse_empty_classes
from zeroshot.data.read_file import contents, names_in
from zeroshot.errors import ZeroshotError, override, printable

PIXELS = 3 * 32 * 32  # a row: 1,024 red, 1,024 green, 1,024 blue


@dataclass(frozen=True)
class Labels:
    """Where one kind of label is: the file of its names, and the keys in the pickles or the byte of a row."""

    file: str
    names_key: str = ""
    key: str = ""
    byte: int = 0


@dataclass(frozen=True)
class Layout:
    """The files of one way in which the data are given out; `form` says whether they are pickles or rows of bytes."""

    title: str
    name: str
    form: Literal["pickle", "rows"]
    splits: Mapping[str, Sequence[str]]
    kinds: Mapping[str, Labels]

    def files(self) -> set[str]:
        return {file for files in self.splits.values() for file in files} | {kind.file for kind in self.kinds.values()}


LAYOUTS = (
    Layout(
        "CIFAR-100 (Python layout)",
        "cifar100",
        "pickle",
        {"train": ["train"], "test": ["test"]},
        {
            "fine": Labels("meta", "fine_label_names", "fine_labels"),
            "coarse": Labels("meta", "coarse_label_names", "coarse_labels"),
        },
    ),
    Layout(
        "CIFAR-100 (binary layout)",
        "cifar100",
        "rows",
        {"train": ["train.bin"], "test": ["test.bin"]},
        {"coarse": Labels("coarse_label_names.txt", byte=0), "fine": Labels("fine_label_names.txt", byte=1)},
    ),
    Layout(
        "CIFAR-10 (Python layout)",
        "cifar10",
        "pickle",
        {"train": [f"data_batch_{n}" for n in range(1, 6)], "test": ["test_batch"]},
        {"fine": Labels("batches.meta", "label_names", "labels")},
    ),
    Layout(
        "CIFAR-10 (binary layout)",
        "cifar10",
        "rows",
        {"train": [f"data_batch_{n}.bin" for n in range(1, 6)], "test": ["test_batch.bin"]},
        {"fine": Labels("batches.meta.txt", byte=0)},
    ),
)


def load(root: Path, split: str, labels: str = "fine", name: str | None = None, names: Path | None = None) -> ImageSet:
    """One split of CIFAR in the folder `root`, in the files' order; images are uint8 [N, 32, 32, 3].

    The layout is recognised by the files in the folder; `split` is train or test; `labels` is fine or, for CIFAR-100,
    coarse; `name` is cifar100 or cifar10 unless given; `names` is a file of `folder,name` that names the classes
    otherwise, by CIFAR's own names. The pickles are read as data: nothing in them is run. Raises
    ZeroshotError, with the file and the reason, for anything that is missing, cut short, out of range or not CIFAR.
    """
    layout = _layout(root)
    if split not in layout.splits:
        raise ZeroshotError(f"dataset.split={printable(split)}: {layout.title} has {' and '.join(layout.splits)}")
    if labels not in layout.kinds:
        known = " or ".join(f"dataset.labels={kind}" for kind in layout.kinds)
        raise ZeroshotError(
            f"dataset.labels={printable(labels)}: {layout.title} in {printable(root)} has {known} alone"
        )
    kind = layout.kinds[labels]
    for file in (kind.file, *layout.splits[split]):
        if not os.path.lexists(root / file):
            raise ZeroshotError(
                f"{printable(root / file)} is missing: {layout.title} has {', '.join(sorted(layout.files()))}; "
                "unpack the archive anew, or try experiment=quickstart, which works without any download"
            )
    classes = _class_names(layout, root / kind.file, kind)
    parts = [_part(layout, root / file, kind, len(classes)) for file in layout.splits[split]]
    ids = np.concatenate([ids for ids, _ in parts])
    refuse_empty_classes(ids, classes, root / layout.splits[split][0] if len(parts) == 1 else root)
    named = None if names is None else class_names.rename(classes, names)
    pixels = np.empty((len(ids), 32, 32, 3), np.uint8)
    np.concatenate([_upright(rows) for _, rows in parts], out=pixels)
    pixels.setflags(write=False)
    return ImageSet(
        name=name or layout.name,
        split=split,
        label_kind=labels,
        classes=classes if named is None else named.names,
        labels=ids,
        images=cast("Sequence[Picture]", pixels),  # an array is a sequence in all but its registered type
        indices=np.arange(len(ids), dtype=np.int64),
        fingerprint=fingerprint(classes, ids, [pixels.data]),
        class_sources=None if named is None else named.sources,
        class_mapping="" if named is None else named.mapping,
    )


def set_in(root: Path) -> str | None:
    """cifar100 or cifar10 where a folder holds a file of theirs; raises ZeroshotError if it can't be read."""
    return next((layout.name for layout in _layouts(root)), None)


def _layouts(root: Path) -> list[Layout]:
    present = {name for name in names_in(root) if not os.path.isdir(root / name)}
    return [layout for layout in LAYOUTS if present & layout.files()]


def _layout(root: Path) -> Layout:
    found = _layouts(root)
    if len(found) == 1:
        return found[0]
    if found:
        titles = " and of ".join(layout.title for layout in found)
        raise ZeroshotError(f"{printable(root)} holds files of {titles}: keep each in a folder of its own")
    for inner in ("cifar-100-python", "cifar-100-binary", "cifar-10-batches-py", "cifar-10-batches-bin"):
        if os.path.isdir(root / inner):
            raise ZeroshotError(
                f"{printable(root)} holds CIFAR one folder down: type {override('dataset.root', root / inner)}"
            )
    raise ZeroshotError(
        f"{printable(root)} holds no file of CIFAR-100 (meta, test, train; test.bin) or CIFAR-10 (test_batch; "
        "test_batch.bin): set dataset.root to their folder; a folder per class is dataset=image_folder; "
        "experiment=quickstart works without any download"
    )


def _class_names(layout: Layout, path: Path, kind: Labels) -> tuple[str, ...]:
    if layout.form == "rows":
        return class_names.read(path)
    names = _pickle(path).get(kind.names_key)
    if not isinstance(names, list):
        raise ZeroshotError(f"{printable(path)} holds no list «{kind.names_key}»")
    try:
        texts = [name.decode("utf-8") if isinstance(name, bytes) else name for name in names]
    except UnicodeDecodeError as error:
        raise ZeroshotError(f"{printable(path)}: a name in «{kind.names_key}» is not UTF-8 text") from error
    if not all(isinstance(text, str) for text in texts):
        raise ZeroshotError(f"{printable(path)}: a name in «{kind.names_key}» is not text")
    return class_names.checked(texts, path)


def _part(layout: Layout, path: Path, kind: Labels, classes: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """One file: class ids [N] and pixels [N, 3072]."""
    ids, pixels = _pickled(path, kind) if layout.form == "pickle" else _rows(path, kind, label_bytes=len(layout.kinds))
    if len(ids) != len(pixels):
        raise ZeroshotError(f"{printable(path)} holds {len(ids):,} labels for {len(pixels):,} images")
    if not len(ids):
        raise ZeroshotError(f"{printable(path)} holds no images")
    wrong = np.flatnonzero((ids < 0) | (ids >= classes))
    if len(wrong):
        raise ZeroshotError(
            f"{printable(path)}: image {wrong[0]} has label {ids[wrong[0]]}, but {kind.file} names {classes} classes"
        )
    return ids, pixels


def _pickled(path: Path, kind: Labels) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    batch = _pickle(path)
    for key in (kind.key, "data"):
        if key not in batch:
            raise ZeroshotError(f"{printable(path)} has no «{key}»: it is not the file of images that CIFAR has there")
    try:
        pixels = array_pickle.array(batch["data"])
    except ValueError as error:
        raise ZeroshotError(f"{printable(path)}, «data»: {error}") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise ZeroshotError(
            f"{printable(path)}: «data» is {pixels.dtype} {list(pixels.shape)}, not uint8 rows of {PIXELS:,}"
        )
    return _ids(batch[kind.key], path, kind.key), cast("NDArray[np.uint8]", pixels)


def _ids(labels: object, path: Path, key: str) -> NDArray[np.int64]:
    """Labels [N], a list of integers in CIFAR itself and an array of them in some copies."""
    try:
        if not isinstance(labels, list):
            values = array_pickle.array(labels)
            if values.ndim != 1 or values.dtype.kind not in "iu":
                raise ValueError("it is not a row of integers")
            return values.astype(np.int64)
        if not all(type(label) is int and abs(label) < 1 << 31 for label in labels):
            raise ValueError("a label is not a class id")
        return np.array(labels, dtype=np.int64)
    except ValueError as error:
        raise ZeroshotError(f"{printable(path)}, «{key}»: {error}") from error


def _rows(path: Path, kind: Labels, label_bytes: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    data = contents(path)
    width = label_bytes + PIXELS
    if len(data) % width:
        raise ZeroshotError(
            f"{printable(path)} has {len(data):,} bytes, which is not a whole number of rows of {width:,}: "
            "it is cut short or of another layout"
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, width)
    return rows[:, kind.byte].astype(np.int64), rows[:, label_bytes:]


def _pickle(path: Path) -> dict[str, object]:
    try:
        return array_pickle.load(contents(path))
    except ValueError as error:
        raise ZeroshotError(
            f"{printable(path)} is not a pickle that CIFAR has there, or a damaged one: {printable(error)}"
        ) from error


def _upright(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows of planes [N, 3072] → pictures [N, 32, 32, 3]."""
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
