"""Text to token ids as SigLIP does it: canonical text, the tokenizer of the weights' repository, padding to the end."""

import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zeroshot.errors import ZeroshotError, printable
from zeroshot.models.sentencepiece_file import read_sentencepiece
from zeroshot.models.tokenizer import Ids, too_long

FILES = ("tokenizer.json", "spiece.model")  # the first one beside the weights is used
SPACE = "▁"  # how sentencepiece writes a space
PUNCTUATION = str.maketrans("", "", string.punctuation)
LEAST_SHARE = 0.99  # of the model's vocabulary that its tokenizer has


def canonical(text: str) -> str:
    """The text as SigLIP was trained on it: lower case, without ASCII punctuation, single spaces.

    As transformers' `SiglipTokenizer.canonicalize_text`, which is big_vision's (`prompt_engineering.py`).
    """
    return re.sub(r"\s+", " ", text.replace(SPACE, " ").lower().translate(PUNCTUATION)).strip()


class OtherModelError(ZeroshotError):
    """A tokenizer has another number of tokens than the weights; `size` is its own."""

    def __init__(self, file: Path, size: int, vocabulary: int) -> None:
        super().__init__(f"{file} has {size} tokens, where the weights have {vocabulary}")
        self.size = size


class SiglipTokenizer:
    """The tokenizer in a file of the weights' repository.

    Args:
        file: `tokenizer.json`, whose own marks are used, or `spiece.model`, whose texts end in `</s>`.
        pad_token: what a text is padded with.
        context_length: the length of every text in tokens.
        vocabulary: the number of tokens that the model knows.

    Raises:
        ZeroshotError: the file can't be read, or is another model's.
    """

    def __init__(self, file: Path, pad_token: str, context_length: int, vocabulary: int) -> None:
        from tokenizers import Tokenizer

        self._context_length = context_length
        try:
            if file.name.endswith(".json"):
                self._tokenizer: Any = Tokenizer.from_file(str(file))
            else:
                self._tokenizer = read_sentencepiece(file)
        except Exception as error:  # the library raises nothing more special
            raise ZeroshotError(f"{file}: can't be read as a tokenizer ({printable(error)}): get it again") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        size = self._tokenizer.get_vocab_size()
        if not LEAST_SHARE * vocabulary <= size <= vocabulary:
            raise OtherModelError(file, size, vocabulary)
        self._pad = self._tokenizer.token_to_id(pad_token)
        if self._pad is None:
            raise ZeroshotError(f"{file} has no token {pad_token}, with which texts are padded: set model.pad_token")

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """As `TextTokenizer.ids`, padded to the context length."""
        found = []
        for text in texts:
            ids = self._tokenizer.encode(_readable(text)).ids
            if len(ids) > self._context_length:
                raise too_long(text, str(len(ids)), "SigLIP", self._context_length)
            found.append((*ids, *[self._pad] * (self._context_length - len(ids))))
        return found

    def encode(self, text: str) -> list[int]:
        """The ids of one text of any length, without marks."""
        ids: list[int] = self._tokenizer.encode(_readable(text), add_special_tokens=False).ids
        return ids


def tokenizer_file(weights: Path) -> Path:
    """The tokenizer beside a weights file: one that is named after the file alone, else one of `FILES`.

    Raises:
        ZeroshotError: there is none.
    """
    for name in (*(f"{weights.stem}.{name}" for name in FILES), *FILES):
        if (weights.parent / name).is_file():
            return weights.parent / name
    raise ZeroshotError(
        f"{weights}: there is no {' or '.join(FILES)} beside it, without which SigLIP reads no text: copy it from "
        "the repository of the weights"
    )


def _readable(text: str) -> str:
    return canonical(text.encode("utf-8", "replace").decode())  # half a surrogate pair is no text for the library
