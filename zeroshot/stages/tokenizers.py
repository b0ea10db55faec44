"""From the `model` config to the tokenizer of its family."""

from pathlib import Path
from typing import Any

from zeroshot.config.named import known_models
from zeroshot.config.schema import Family, Model
from zeroshot.downloads.digest import sha256_of
from zeroshot.errors import ZeroshotError
from zeroshot.models.chinese_tokenizer import ChineseTokenizer
from zeroshot.models.siglip_tokenizer import OtherModelError, SiglipTokenizer, tokenizer_file
from zeroshot.models.tokenizer import TextTokenizer, Tokenizer


def tokenizer_digest(model: Model, weights: Path) -> str | None:
    """The sha256 of the tokenizer where it came with the weights."""
    return sha256_of(tokenizer_file(weights)) if model.family is Family.siglip else None


def describe_tokenizer(model: Model, weights: Path) -> dict[str, Any]:
    """What the record says of the tokenizer: its file and digest where it came with the weights."""
    digest = tokenizer_digest(model, weights)
    return {} if digest is None else {"tokenizer": {"path": str(tokenizer_file(weights)), "sha256": digest}}


def load_tokenizer(model: Model, weights: Path) -> TextTokenizer:
    """The tokenizer of the model's family; SigLIP's is in a file beside its weights.

    Raises:
        ZeroshotError: that file is missing, can't be read, or is another model's.
    """
    match model.family:
        case Family.chinese_clip:
            return ChineseTokenizer(model.context_length)
        case Family.siglip:
            assert model.pad_token is not None  # `validate.checked` requires it
            file = tokenizer_file(weights)
            try:
                return SiglipTokenizer(file, model.pad_token, model.context_length, model.vocabulary)
            except OtherModelError as error:
                others = [name for name, each in known_models().items() if each.vocabulary == error.size]
                hint = f", as {' and '.join(others)} have" if others else ""
                raise ZeroshotError(f"{error}{hint}: put the tokenizer of {model.name} there") from error
    return Tokenizer(model.context_length)
