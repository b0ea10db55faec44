"""Shapes: 100 fine classes (10 colours × 10 shapes) and 10 coarse ones, drawn with numpy instead of read from a file.

An image holds one coloured shape at some place, size and angle, on a plain, shaded or patterned background with small
marks and noise. Only integers decide a pixel, and they come from PCG64's raw stream, which numpy promises to keep: the
images are the same bytes on every machine. `shapes.json` holds the names and the colours, and the twenty names that the
embedded model was not trained on.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.image_set import ImageSet, Picture, fingerprint
from zeroshot.errors import ZeroshotError

Pixels = NDArray[np.uint8]
Integers = NDArray[np.int64]
Bound = int | NDArray[np.int32]
Values = str | list[int] | list[str] | Pixels

FACTS = json.loads(Path(__file__).with_name("shapes.json").read_text(encoding="utf-8"))
COLOURS: dict[str, list[int]] = FACTS["colours"]
SHAPES: tuple[str, ...] = tuple(FACTS["shapes"])
FINE = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)  # fine id = 10 * colour + shape
UNSEEN: tuple[str, ...] = tuple(FACTS["unseen"])

SIDE = 32
UNIT = 16  # positions and radii are in sixteenths of a pixel of a 32-pixel image, whatever side is drawn
CELLS = 128  # a shape is kept as a mask of CELLS × CELLS, its radius half of that
CHUNK = 128  # images drawn at once: their arrays stay in the cache
DRAWS = 96  # numbers that an image may use
STRAY = 56  # a shape's middle lies at most so far from the image's, across and down
TILT = 13  # a shape turns at most so many 256ths of a circle either way
SPLITS = {"train": 1, "test": 2}


def load(
    split: Literal["train", "test"] = "test",
    labels: Literal["fine", "coarse"] = "fine",
    name: str = "shapes",
    seed: int | None = None,
    size: int = 1000,
) -> ImageSet:
    """`size` images of 32 × 32, every hundred of them one of each fine class in a drawn order.

    Another `seed` gives other images; a larger set begins with the smaller one. Raises ZeroshotError for a size or a
    seed below zero, or an unknown split or kind of labels.
    """
    if split not in SPLITS or labels not in ("fine", "coarse"):
        raise ZeroshotError(
            f"shapes has no {labels} labels of a split {split}: split is train or test, labels are fine or coarse"
        )
    if size < 1 or (seed or 0) < 0:
        raise ZeroshotError(
            f"shapes can't draw {size} images from seed {seed}: dataset.size is 1 or more, dataset.seed 0 or more"
        )
    fine, images = _split(split, seed or 0, size)
    classes, ids = (FINE, fine) if labels == "fine" else (SHAPES, fine % len(SHAPES))
    return ImageSet(
        name=name,
        split=split,
        label_kind=labels,
        classes=classes,
        labels=ids,
        images=cast("Sequence[Picture]", images),
        indices=np.arange(size, dtype=np.int64),
        fingerprint=fingerprint(classes, ids, [images.data]),
    )


def write_cifar(folder: Path, seed: int | None = None, train: int = 1000, test: int = 1000) -> None:
    """Writes the set as CIFAR-100's `meta`, `train` and `test`, as Python 2 pickled those: same keys, same types."""
    folder.mkdir(parents=True, exist_ok=True)
    meta: dict[str, Values] = {"fine_label_names": list(FINE), "coarse_label_names": list(SHAPES)}
    (folder / "meta").write_bytes(_pickled(meta))
    for split, title, size in (("train", "training", train), ("test", "testing", test)):
        fine, images = _split(split, seed or 0, size)
        batch: dict[str, Values] = {
            "filenames": [f"{FINE[label].replace(' ', '_')}_s_{place:06d}.png" for place, label in enumerate(fine)],
            "batch_label": f"{title} batch 1 of 1",
            "fine_labels": fine.tolist(),
            "coarse_labels": (fine % len(SHAPES)).tolist(),
            "data": np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(size, -1),
        }
        (folder / split).write_bytes(_pickled(batch))


def draw(fine: Sequence[int] | Integers, seed: int | Sequence[int], side: int = SIDE, variety: int = 256) -> Pixels:
    """One image a fine id: uint8 [N, side, side, 3]. The first images of a longer list are those of a shorter one.

    `variety`, in 256ths, is how far a shape may lie from the middle and turn, and a background differ from grey. The
    data set has all of it; a training may begin with less.
    """
    labels = np.asarray(fine, np.int64)
    entropy = [seed] if isinstance(seed, int) else list(seed)
    parameters, grain = np.random.PCG64([*entropy, 1]), np.random.PCG64([*entropy, 2])
    images = np.empty((len(labels), side, side, 3), np.uint8)
    for start in range(0, len(labels), CHUNK):
        part = labels[start : start + CHUNK]
        numbers = _raw(parameters, len(part) * DRAWS // 4).view("<u2").reshape(len(part), DRAWS)
        noise = _raw(grain, len(part) * side * side * 3 // 8).view(np.uint8).reshape(len(part), side, side, 3)
        images[start : start + CHUNK] = _paint(part, Draws(numbers), noise, side, variety)
    return images


class Draws:
    """Random numbers of a batch of images: each call takes the next column, so that an image has its own row."""

    def __init__(self, numbers: NDArray[np.uint16]) -> None:
        self.numbers, self.column = numbers.astype(np.int32), 0

    def __call__(self, low: Bound, high: Bound, count: int = 1) -> NDArray[np.int32]:
        """Integers from `low` up to but not including `high`: [N, count]."""
        taken = self.numbers[:, self.column : self.column + count]
        if taken.shape[1] < count:
            raise AssertionError(f"an image needs more than {DRAWS} numbers")
        self.column += count
        return np.asarray(low + (taken * (high - low) >> 16), np.int32)


def _split(split: str, seed: int, size: int) -> tuple[Integers, Pixels]:
    """Fine labels [size] and images of a split."""
    entropy = [SPLITS[split], seed]
    blocks = -(-size // len(FINE))
    order = _raw(np.random.PCG64([*entropy, 0]), blocks * len(FINE)).reshape(blocks, len(FINE))
    fine = np.argsort(order, axis=1, kind="stable").reshape(-1)[:size].astype(np.int64)
    return fine, draw(fine, entropy)


def _pickled(values: Mapping[str, Values]) -> bytes:
    """Protocol 2 with texts and bytes as Python 2's byte strings, which Python 3's pickler no longer writes."""
    parts = [b"\x80\x02}("]
    for key, value in values.items():
        parts.append(_text(key))
        if isinstance(value, str):
            parts.append(_text(value))
        elif isinstance(value, list):
            items = [_text(item) if isinstance(item, str) else b"K" + bytes([item]) for item in value]
            parts.append(b"](" + b"".join(items) + b"e")
        else:
            shape = b"".join(b"J" + extent.to_bytes(4, "little") for extent in value.shape)
            dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            content = b"T" + value.nbytes.to_bytes(4, "little") + value.tobytes()
            parts.append(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR")
            parts.append(b"(K\x01(" + shape + b"t" + dtype + b"\x89" + content + b"tb")
    return b"".join([*parts, b"u."])


def _text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode("ascii")


def _raw(stream: np.random.PCG64, count: int) -> NDArray[np.uint64]:
    return np.asarray(stream.random_raw(count)).astype("<u8")


def _paint(fine: Integers, draws: Draws, noise: Pixels, side: int, variety: int) -> Pixels:
    """Background, marks, the shape, one more mark, then contrast and noise: [N, side, side, 3]."""
    rows = len(fine)
    palette = np.array(list(COLOURS.values()), np.int32)
    colour = palette[fine // len(SHAPES)]
    colour = colour * draws(212, 273) // 256 + draws(-14, 15, 3)
    place = (2 * np.arange(side, dtype=np.int32) + 1) * (SIDE * UNIT) // (2 * side)  # pixel centres

    first = _apart(colour, draws)
    second = np.clip(first + draws(-40, 41, 3), 0, 255)
    blend = _pattern(draws, place)[..., None]
    canvas = (first[:, None, None] * (256 - blend) + second[:, None, None] * blend) >> 8

    for mark in range(4):
        if mark == 3:  # the last one may lie on the shape
            canvas = 128 + ((canvas - 128) * variety >> 8)
            radius = draws(8 * UNIT, 12 * UNIT + 1)[:, 0]
            coverage = _coverage(fine % len(SHAPES), radius, draws, side, variety)[..., None]
            canvas += (colour[:, None, None] - canvas) * coverage >> 6
        centre, reach = draws(0, SIDE * UNIT, 2), draws(-UNIT, 2 * UNIT)[:, :, None]
        across, down = abs(place - centre[:, :1])[:, None, :], abs(place - centre[:, 1:])[:, :, None]
        inside = np.maximum(across, down) < reach if mark % 2 else across + down < reach
        which, _, _ = spots = np.nonzero(inside)
        canvas[spots] = palette[draws(0, len(palette))[:, 0]][which]

    contrast = draws(176, 257).reshape(rows, 1, 1, 1)
    grain = draws(0, 33).reshape(rows, 1, 1, 1)
    canvas = 128 + ((canvas - 128) * contrast >> 8) + ((noise.astype(np.int32) - 128) * grain >> 7)
    return np.asarray(np.clip(canvas, 0, 255), np.uint8)


def _apart(colour: NDArray[np.int32], draws: Draws) -> NDArray[np.int32]:
    """A dull background for each colour [N, 3]: the first of six drawn ones that stands out from it, else the last."""
    chosen = draws(56, 201) + draws(-40, 41, 3)
    for _ in range(5):
        near = abs(chosen - colour).sum(axis=1, keepdims=True) < 180
        chosen = np.where(near, draws(56, 201) + draws(-40, 41, 3), chosen)
    return chosen


def _pattern(draws: Draws, place: NDArray[np.int32]) -> NDArray[np.int32]:
    """How much of the second background colour a pixel takes, 0 to 256: [N, side, side]."""
    kind, turn, width = draws(0, 5)[:, 0], draws(0, len(_turns()))[:, 0], draws(5, 8)[:, :, None]
    cos, sin = (_turns()[turn, axis][:, None, None] for axis in (0, 1))
    patches = draws(0, 257, 16).reshape(-1, 4, 4)
    middle = place - SIDE * UNIT // 2
    along = (cos * middle[None, None, :] + sin * middle[None, :, None]) >> 8
    across = (cos * middle[None, :, None] - sin * middle[None, None, :]) >> 8
    blend = np.zeros(along.shape, np.int32)  # kind 0: plain
    for pattern, values in (
        (1, np.clip(128 + (along >> 1), 0, 256)),  # shaded
        (2, (along >> width & 1) * 256),  # stripes
        (3, ((along >> width ^ across >> width) & 1) * 256),  # checks
        (4, patches[:, (place * 4 // (SIDE * UNIT))[:, None], place * 4 // (SIDE * UNIT)]),  # patches
    ):
        blend = np.where((kind == pattern)[:, None, None], values, blend)
    return blend


def _coverage(shape: Integers, radius: NDArray[np.int32], draws: Draws, side: int, variety: int) -> NDArray[np.int32]:
    """How much of a pixel its shape covers, in 64ths: [N, side, side], at a drawn place and angle."""
    centre = SIDE * UNIT // 2 + (draws(-STRAY, STRAY + 1, 2) * variety >> 8)
    turn = draws(-TILT, TILT + 1)[:, 0] * variety >> 8
    samples = (2 * np.arange(2 * side, dtype=np.int32) + 1) * (SIDE * UNIT) // (4 * side)  # two a pixel and axis
    across, down = samples - centre[:, :1], samples - centre[:, 1:]
    scaled = _turns()[turn] * 8 * CELLS // (2 * radius[:, None])  # cells a sixteenth of a pixel, times 2¹¹
    cos, sin = scaled[:, :1], scaled[:, 1:]
    # cells with three bits behind the point fit in 16 bits
    to_x = [(across * cos >> 8).astype(np.int16)[:, None, :], (down * sin >> 8).astype(np.int16)[:, :, None]]
    to_y = [(down * cos >> 8).astype(np.int16)[:, :, None], (across * -sin >> 8).astype(np.int16)[:, None, :]]
    x = np.clip((to_x[0] + to_x[1] >> 3) + CELLS // 2, 0, CELLS - 1)
    y = np.clip((to_y[0] + to_y[1] >> 3) + CELLS // 2, 0, CELLS - 1)
    cells = y * np.int16(CELLS) + x
    found = np.stack([mask.take(cell) for mask, cell in zip(_masks()[shape], cells, strict=True)])
    halves = found[:, ::2] + found[:, 1::2]
    return np.asarray((halves[:, :, ::2] + halves[:, :, 1::2]) * 16, np.int32)


@cache
def _turns() -> NDArray[np.int32]:
    """256 directions, (cos, sin) times 256: no value is near a half, so that rounding is the same everywhere."""
    angle = np.arange(256) * (2 * np.pi / 256)
    return np.asarray(np.rint(256 * np.stack([np.cos(angle), np.sin(angle)], axis=1)), np.int32)


@cache
def _masks() -> NDArray[np.int32]:
    """Each shape, pointing up, as 0 and 1: [10, CELLS * CELLS]. Lengths below are of a radius of 128."""
    axis = 2 * np.arange(CELLS, dtype=np.int32) + 1 - CELLS
    x, y = axis[None, :], axis[:, None]

    def disc(radius: int, right: int = 0, down: int = 0) -> NDArray[np.bool_]:
        return np.asarray((x - right) ** 2 + (y - down) ** 2 <= radius**2)

    def polygon(*corners: tuple[int, int]) -> NDArray[np.bool_]:
        """Even-odd: a cell is inside if a line to its left crosses an odd number of sides."""
        inside = np.zeros((CELLS, CELLS), bool)
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if y0 != y1:
                spans = (y0 > y) != (y1 > y)
                left = (x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)
                inside ^= spans & ((left > 0) == (y1 > y0))
        return inside

    heart = disc(60, -50, -34) | disc(60, 50, -34) | polygon((-103, -6), (103, -6), (0, 122))
    star = ((0, -126), (30, -40), (120, -38), (48, 16), (74, 102), (0, 50), (-74, 102), (-48, 16), (-120, -38))
    cross = ((-34, -116), (34, -116), (34, -34), (116, -34), (116, 34), (34, 34), (34, 116), (-34, 116), (-34, 34))
    arrow = ((0, -122), (88, -18), (32, -18), (32, 118), (-32, 118), (-32, -18), (-88, -18))
    glass = ((-88, -106), (88, -106), (14, 0), (88, 106), (-88, 106), (-14, 0))
    drawn = {
        "circle": disc(104),
        "square": polygon((-88, -88), (88, -88), (88, 88), (-88, 88)),
        "triangle": polygon((0, -124), (108, 64), (-108, 64)),
        "star": polygon(*star, (-30, -40)),
        "cross": polygon(*cross, (-116, 34), (-116, -34), (-34, -34)),
        "ring": disc(112) & ~disc(62),
        "heart": heart & ~polygon((-18, -128), (18, -128), (0, -60)),
        "moon": disc(116) & ~disc(98, 62, 0),
        "arrow": polygon(*arrow),
        "hourglass": polygon(*glass),
    }
    return np.asarray([drawn[shape].reshape(-1) for shape in SHAPES], np.int32)
