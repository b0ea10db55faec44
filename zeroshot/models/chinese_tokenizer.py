"""Text to token ids as Chinese-CLIP does it: the lower-cased WordPiece of BERT with a Chinese vocabulary."""

import gzip
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from zeroshot.models.tokenizer import Ids, too_long

# The 21,128 words of BERT-Base, Chinese, a word a line, as `cn_clip/clip/vocab.txt` of cn_clip 1.6.0 has them
# (Google and OFA-Sys, Apache-2.0).
VOCABULARY_FILE = Path(__file__).with_name("chinese_vocabulary.txt.gz")
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LONGEST_WORD = 100  # characters; a longer one is unknown


class ChineseTokenizer:
    """Chinese-CLIP's tokenizer, the same ids as transformers' `BertTokenizer` with its vocabulary.

    A text is [CLS], its words and pieces of words, [SEP]; a Chinese character is a word. As there, a mark that a text
    spells out, such as [SEP], is that mark.
    """

    def __init__(self, context_length: int) -> None:
        self._context_length = context_length

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """As `TextTokenizer.ids`, without padding."""
        first, last = (self._tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]"))
        found = []
        for text in texts:
            ids = (first, *self.encode(text), last)
            if len(ids) > self._context_length:
                raise too_long(text, str(len(ids)), "Chinese-CLIP", self._context_length)
            found.append(ids)
        return found

    def encode(self, text: str) -> list[int]:
        """The ids of one text of any length, without marks."""
        readable = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text for the library
        ids: list[int] = self._tokenizer.encode(readable, add_special_tokens=False).ids
        return ids

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        words = gzip.decompress(VOCABULARY_FILE.read_bytes()).decode().rstrip("\n").split("\n")
        vocabulary = {word: id for id, word in enumerate(words)}
        built = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD))
        built.normalizer = normalizers.BertNormalizer(lowercase=True)
        built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        built.add_special_tokens(MARKS)
        return built
