"""From the `model` config to the tokenizer of its family."""

from pathlib import Path

from zeroshot.config.named import known_models
from zeroshot.config.schema import Family, Model
from zeroshot.errors import ZeroshotError
from zeroshot.models.chinese_tokenizer import ChineseTokenizer
from zeroshot.models.siglip_tokenizer import OtherModelError, SiglipTokenizer, tokenizer_file
from zeroshot.models.tokenizer import TextTokenizer, Tokenizer


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
    return Tokenizer()
