"""Text to token ids, exactly as OpenAI's CLIP does it: cleaning, splitting and byte-pair encoding."""

import gzip
import html
from collections.abc import Sequence
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Protocol

import ftfy
import numpy as np
import regex
from numpy.typing import NDArray

from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import CONTEXT_LENGTH

SOT = 49406
EOT = 49407

# The merges that OpenAI published with CLIP (MIT licence); CLIP uses the first 48,894 lines after the header.
MERGE_TABLE = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
MERGES = SOT - 512
END_OF_WORD = "</w>"
NO_MERGE = EOT + 1
CACHED_WORDS = 2**16

# `regex` and `str` differ on what white space is (U+001C to U+001F), and OpenAI uses both: so does `clean`.
SPACES = regex.compile(r"\s+")
WORDS = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)
MARKS = {"<|startoftext|>": SOT, "<|endoftext|>": EOT}


Ids = tuple[int, ...]


class TextTokenizer(Protocol):
    """What an encoder needs of a tokenizer."""

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text, whole and with the marks that the model wants. Raises ZeroshotError for a long one."""

    def encode(self, text: str) -> list[int]:
        """The ids of one text of any length, without marks."""


class Tokenizer:
    """OpenAI's CLIP tokenizer (openai/CLIP, `clip/simple_tokenizer.py`), with a merge table of its own beside it.

    Ids 0 to 255 are bytes, the next 256 are bytes that end a word, then comes one id per merge, in the order in which
    merges are tried: a pair's rank and the id that it becomes are the same number, so words are merged as plain ids.
    """

    def __init__(self, context_length: int = CONTEXT_LENGTH) -> None:
        self._context_length = context_length
        byte_order = sorted(range(256), key=lambda byte: (not _is_printable(byte), byte))
        symbols = [_symbol(byte) for byte in byte_order]
        ids = {symbol: place for place, symbol in enumerate(symbols + [symbol + END_OF_WORD for symbol in symbols])}
        self._byte_ids = [byte_order.index(byte) for byte in range(256)]
        self._merges: dict[tuple[int, int], int] = {}
        with gzip.open(MERGE_TABLE, "rt", encoding="utf-8") as table:
            for merged, line in enumerate(islice(table, 1, MERGES + 1), start=512):
                first, second = line.split()
                self._merges[ids[first], ids[second]] = merged
                ids[first + second] = merged
        self._longest = max(map(len, ids))  # bytes of a token at most
        self._encode_word = lru_cache(CACHED_WORDS)(self._merge)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """The ids of N texts between their start and end marks: [N, context_length], padded with 0.

        Raises ZeroshotError for a text that does not fit: CLIP would read a part of it only.
        """
        if isinstance(texts, str):
            raise ZeroshotError(f"expected a list of texts, got the one text {_shortened(texts)}: put it in [ ]")
        tokens = np.zeros((len(texts), self._context_length), dtype=np.int32)
        for row, ids in zip(tokens, self.ids(texts), strict=True):
            row[: len(ids)] = ids
        return tokens

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """As `TextTokenizer.ids`, between start and end marks and without padding."""
        found = []
        for text in texts:
            words = _words(text)
            # Merging takes time that grows with the square of a word: what can't fit by its size alone isn't merged.
            fewest = len("".join(words).encode()) // self._longest
            if fewest > self._context_length:
                raise too_long(text, f"more than {fewest}", "CLIP", self._context_length)
            ids = (SOT, *self._encode_words(words), EOT)
            if len(ids) > self._context_length:
                raise too_long(text, str(len(ids)), "CLIP", self._context_length)
            found.append(ids)
        return found

    def encode(self, text: str) -> list[int]:
        """The ids of one text of any length, without the start and end marks."""
        return self._encode_words(_words(text))

    def _encode_words(self, words: list[str]) -> list[int]:
        return [token for word in words for token in self._encode_word(word)]

    def _merge(self, word: str) -> tuple[int, ...]:
        if word in MARKS:
            return (MARKS[word],)
        ids = [self._byte_ids[byte] for byte in word.encode()]
        ids[-1] += 256
        while (best := min((self._merges.get(pair, NO_MERGE) for pair in pairwise(ids)), default=NO_MERGE)) < NO_MERGE:
            merged = ids[:1]
            for token in ids[1:]:
                if self._merges.get((merged[-1], token)) == best:
                    merged[-1] = best
                else:
                    merged.append(token)
            ids = merged
        return tuple(ids)


def clean(text: str) -> str:
    """The text as CLIP's vocabulary knows it: mended Unicode, no HTML entities, single spaces, lower case."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return str(SPACES.sub(" ", text).strip().lower())


def _words(text: str) -> list[str]:
    words: list[str] = WORDS.findall(clean(text))
    return words


def _is_printable(byte: int) -> bool:
    return 33 <= byte <= 126 or 161 <= byte <= 172 or 174 <= byte <= 255


def _symbol(byte: int) -> str:
    """How the merge table writes a byte: a printable one as itself in Latin-1, the n-th other one as U+0100 + n."""
    return chr(byte) if _is_printable(byte) else chr(256 + sum(not _is_printable(other) for other in range(byte)))


def too_long(text: str, length: str, reader: str, limit: int) -> ZeroshotError:
    """The error of a text of `length` tokens that does not fit into the `limit` of its reader."""
    return ZeroshotError(
        f"a text of {length} tokens, start and end marks included, where {reader} reads at most {limit}: "
        f"{_shortened(text)}; shorten it"
    )


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
