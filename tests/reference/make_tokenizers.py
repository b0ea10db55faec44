"""Makes the fixtures of tokens by transformers' tokenizers of Chinese-CLIP, SigLIP and SigLIP2.

    python -m tests.reference.make_tokenizers  # where torch, transformers, open_clip_torch and sentencepiece are

Writes in tests/models/fixtures: chinese_tokens.json.gz, a list of [text, ids] by `BertTokenizer` with the real
vocabulary; for SigLIP a small `spiece.model`, for SigLIP2 a small `tokenizer.json`, both trained here, in siglip/ and
siglip2/, and beside each tokens.json.gz with the ids by `SiglipTokenizer` and `Siglip2Tokenizer`.
"""

import gzip
import io
import json
import random
import string
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sentencepiece
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, Siglip2Tokenizer, SiglipTokenizer

from tests.reference.make_inputs import open_clip_module
from tests.reference.strings import MARKS, strings
from zeroshot.models.chinese_tokenizer import VOCABULARY_FILE

FIXTURES = Path(__file__).parents[1] / "models" / "fixtures"
VOCABULARY = 1000
CONTEXT_LENGTH = 64
PER_KIND = 60  # strings of a kind in the fixtures; the class names are all there
HAN = [chr(code) for code in range(0x4E00, 0x9FA6)]
COMMON = list("的一是了我，。！？“”（）、 a1") * 300


def texts() -> dict[str, list[str]]:
    """The strings by kind, and Chinese ones, without half surrogates, which transformers can't read."""
    metadata = open_clip_module("zero_shot_metadata")
    found = strings(metadata.IMAGENET_CLASSNAMES, metadata.OPENAI_IMAGENET_TEMPLATES)
    drawn = random.Random(5)
    found["Chinese"] = ["".join(drawn.choices(HAN + COMMON, k=drawn.randint(1, 30))) for _ in range(1000)]
    return {kind: [text.encode("utf-8", "replace").decode() for text in listed] for kind, listed in found.items()}


def canonical(text: str) -> str:
    """`SiglipTokenizer.canonicalize_text`, on the stripped text."""
    lower = text.replace("▁", " ").lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(lower.split())


def chinese(folder: Path) -> Any:
    """transformers' tokenizer of Chinese-CLIP; `folder` is for its vocabulary."""
    (folder / "vocab.txt").write_bytes(gzip.decompress(VOCABULARY_FILE.read_bytes()))
    return BertTokenizer.from_pretrained(folder)


def train_siglip(folder: Path, corpus: list[str]) -> None:
    """Writes a `spiece.model` like SigLIP's, unigram, <pad> 0, </s> 1, <unk> 2, and the same packed."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, vocab_size=VOCABULARY, model_type="unigram", pad_id=0,
        eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc", minloglevel=2,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(model.getvalue())
    (folder / "spiece.model.gz").write_bytes(gzip.compress(model.getvalue(), mtime=0))


def train_siglip2(folder: Path, corpus: list[str]) -> None:
    """Writes a `tokenizer.json` like SigLIP2's: byte-fallback BPE, lower-cased, ends in <eos>."""
    built = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    built.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    built.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    built.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=marks))
    built.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    built.save(str(folder / "tokenizer.json"))


def siglip(folder: Path) -> Any:
    """transformers' tokenizer of a `spiece.model`."""
    return SiglipTokenizer(vocab_file=str(folder / "spiece.model"))


def siglip2(folder: Path) -> Any:
    """transformers' tokenizer of a `tokenizer.json`, padding at the right as SigLIP2 was trained."""
    return Siglip2Tokenizer.from_pretrained(folder, padding_side="right")


def padded(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text, padded to the context length, longer ones whole."""
    return list(tokenizer(text, padding="max_length", max_length=CONTEXT_LENGTH)["input_ids"])


def is_plain(text: str) -> bool:
    """Whether a text has no mark, which transformers looks for before it makes a text canonical."""
    marks = ("<s>", "</s>", "<pad>", "<unk>", "<eos>", "<bos>", "<mask>", *MARKS)
    return not any(mark in text for mark in marks)


def write(path: Path, pairs: list[tuple[str, list[int]]]) -> None:
    """Writes pairs of text and ids."""
    path.write_bytes(gzip.compress(json.dumps(pairs, separators=(",", ":")).encode(), mtime=0))
    print(f"{path}: {len(pairs)} strings, {path.stat().st_size} bytes")  # noqa: T201


def main() -> None:
    """Writes all of them."""
    by_kind = texts()
    names = by_kind.pop("class names × templates")
    del by_kind["combining marks"]  # the tokenizers library applies sentencepiece's table to whole graphemes
    chosen = [*names[:500], *(text for listed in by_kind.values() for text in listed[:PER_KIND])]
    with TemporaryDirectory() as folder:
        bert = chinese(Path(folder))
        write(FIXTURES / "chinese_tokens.json.gz", [(text, bert(text)["input_ids"]) for text in chosen])
    corpus = [canonical(text) for text in names]
    for name, train, load in (("siglip", train_siglip, siglip), ("siglip2", train_siglip2, siglip2)):
        folder_of_name = FIXTURES / name
        folder_of_name.mkdir(exist_ok=True)
        train(folder_of_name, corpus)
        tokenizer = load(folder_of_name)
        given = {text: text if name == "siglip" else canonical(text) for text in chosen if is_plain(text)}
        pairs = [(text, padded(tokenizer, each)) for text, each in given.items()]
        write(folder_of_name / "tokens.json.gz", [pair for pair in pairs if len(pair[1]) == CONTEXT_LENGTH])
    (FIXTURES / "siglip" / "spiece.model").unlink()


if __name__ == "__main__":
    main()
