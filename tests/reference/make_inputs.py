"""Makes the fixtures of tests/models that hold inputs: token ids by OpenAI's tokenizer and pixels by transformers.

    python -m tests.reference.make_inputs      # where torch, transformers and open_clip_torch are installed

Writes tokens.json.gz, pixels.json and images/ in tests/models/fixtures, and prints how often transformers' tokenizer
differs from OpenAI's, and why. README.md beside this file says what comes of it.
"""

import gzip
import hashlib
import html
import importlib.util
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
import regex
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.reference.pictures import cases
from tests.reference.strings import MARKS, strings

FIXTURES = Path(__file__).parents[1] / "models" / "fixtures"
IDS_OF_MARKS = (49406, 49407)
RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
TARGETS = (224, 336, 32)


def main() -> None:
    """Writes all of them."""
    make_tokens()
    make_pixels()


def make_tokens() -> None:
    """Writes tokens.json.gz: for each kind of string a list of [string, ids]."""
    tokenizer = openai_tokenizer()
    peer = transformers_tokenizer(tokenizer)

    def encode(text: str) -> list[int]:
        # A Rust string can't hold half a surrogate pair.
        return list(peer(text.encode("utf-8", "replace").decode(), add_special_tokens=False)["input_ids"])

    metadata = open_clip_module("zero_shot_metadata")
    fixture = {
        kind: [(text, tokenizer.encode(text)) for text in texts]
        for kind, texts in strings(metadata.IMAGENET_CLASSNAMES, metadata.OPENAI_IMAGENET_TEMPLATES).items()
    }
    for kind, pairs in fixture.items():
        causes = Counter(cause_of_difference(text, ids, encode) for text, ids in pairs)
        print(f"{kind}: {len(pairs)}, of which {dict(causes.most_common())}")  # noqa: T201
    packed = gzip.compress(json.dumps(fixture, separators=(",", ":")).encode(), mtime=0)
    (FIXTURES / "tokens.json.gz").write_bytes(packed)
    print(f"{sum(map(len, fixture.values()))} strings, {len(packed)} bytes")  # noqa: T201


def openai_tokenizer() -> Any:
    """open_clip's tokenizer set back to OpenAI's, from which it was taken: other marks, other white space."""
    module = open_clip_module("tokenizer")
    tokenizer = module.SimpleTokenizer()
    tokenizer.encoder |= dict(zip(MARKS, IDS_OF_MARKS, strict=True))
    tokenizer.cache = {mark: mark for mark in MARKS}
    pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer.pat = regex.compile(pattern, regex.IGNORECASE)
    tokenizer.clean_fn = lambda text: regex.sub(r"\s+", " ", module.basic_clean(text)).strip().lower()
    return tokenizer


def open_clip_module(name: str) -> Any:
    """One module of open_clip by itself: the package as a whole needs torchvision."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    spec = importlib.util.spec_from_file_location(name, Path(package.origin).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def transformers_tokenizer(tokenizer: Any) -> Any:
    """transformers' tokenizer with the same vocabulary, which it would otherwise download."""
    vocabulary = {token: number for token, number in tokenizer.encoder.items() if number < IDS_OF_MARKS[0]}
    vocabulary |= dict(zip(MARKS, IDS_OF_MARKS, strict=True))
    return CLIPTokenizer(vocab=vocabulary, merges=list(tokenizer.bpe_ranks))


def cause_of_difference(text: str, ids: list[int], encode: Callable[[str], list[int]]) -> str:
    """The first step of cleaning that, with those before it, brings transformers to OpenAI's ids."""
    steps: dict[str, Callable[[str], str]] = {
        "equal": str,
        "ftfy": ftfy.fix_text,
        "HTML entities": lambda text: html.unescape(html.unescape(text)),
        "lower case": str.lower,
    }
    for cause, step in steps.items():
        text = step(text)
        if encode(text) == ids:
            return cause
    return "splitting"


def make_pixels() -> None:
    """Writes images/ and pixels.json: for each case its file, its mode in memory, and digests of what is expected."""
    folder = FIXTURES / "images"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fixture = []
    for case in cases(folder):
        digests, rows_first = {}, {}
        for name, resampling in RESAMPLING.items():
            for size in TARGETS:
                pixels = by_transformers(case.seen, size, resampling)
                digests[f"{name} {size}"] = digest(pixels)
                older = by_rows_first(case.seen, size, resampling)
                if not np.array_equal(pixels, older):
                    rows_first[f"{name} {size}"] = digest(older)
        fixture.append({"file": case.file, "mode": case.mode, "digests": digests, "before Pillow 13": rows_first})
    lines = ",\n".join(json.dumps(entry) for entry in fixture)
    (FIXTURES / "pixels.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    total = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{len(fixture)} pictures, {total} bytes")  # noqa: T201
    print("otherwise before Pillow 13:", [entry["file"] for entry in fixture if entry["before Pillow 13"]])  # noqa: T201


def by_transformers(seen: Image.Image | NDArray[np.uint8], size: int, resampling: int) -> NDArray[np.uint8]:
    """The processor's uint8 pixels [size, size, 3] before rescaling and normalisation."""
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        resample=resampling,
        do_rescale=False,
        do_normalize=False,
    )
    pixels = processor(seen, input_data_format=None if isinstance(seen, Image.Image) else "channels_last")
    return np.asarray(pixels["pixel_values"][0]).transpose(1, 2, 0)


def by_rows_first(seen: Image.Image | NDArray[np.uint8], size: int, resampling: int) -> NDArray[np.uint8]:
    """The same where rows are always resized before columns, as every Pillow before 13 did."""
    rgb = CLIPImageProcessorPil().process_image(
        seen, do_convert_rgb=True, input_data_format=None if isinstance(seen, Image.Image) else "channels_last"
    )
    image = Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))
    width, height = (int(size * side / min(image.size)) for side in image.size)
    image = image.resize((width, image.height), resampling).resize((width, height), resampling)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def digest(pixels: NDArray[np.uint8]) -> str:
    """sha256 over the bytes, row by row."""
    assert pixels.dtype == np.uint8
    return hashlib.sha256(pixels.tobytes()).hexdigest()


if __name__ == "__main__":
    main()
