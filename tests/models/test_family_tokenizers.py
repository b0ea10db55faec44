"""The tokenizers of Chinese-CLIP and SigLIP, against the ids of transformers' ones that are committed."""

import gzip
import json
from pathlib import Path

import pytest

from zeroshot.errors import ZeroshotError
from zeroshot.models.chinese_tokenizer import ChineseTokenizer
from zeroshot.models.siglip_tokenizer import OtherModelError, SiglipTokenizer, canonical, tokenizer_file

FIXTURES = Path(__file__).parent / "fixtures"
VOCABULARY, CONTEXT_LENGTH = 1000, 64


def pairs(path: Path) -> list[tuple[str, tuple[int, ...]]]:
    return [(text, tuple(ids)) for text, ids in json.loads(gzip.decompress(path.read_bytes()))]


@pytest.fixture(scope="module")
def spiece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("siglip") / "spiece.model"
    path.write_bytes(gzip.decompress((FIXTURES / "siglip" / "spiece.model.gz").read_bytes()))
    return path


def test_chinese_texts_have_the_ids_of_transformers() -> None:
    expected = pairs(FIXTURES / "chinese_tokens.json.gz")
    assert len(expected) > 1000
    tokenizer = ChineseTokenizer(10**6)
    assert [text for text, ids in expected if tokenizer.ids([text]) != [ids]] == []


def test_siglip_texts_have_the_ids_of_transformers(spiece: Path) -> None:
    expected = pairs(FIXTURES / "siglip" / "tokens.json.gz")
    assert len(expected) > 1000
    tokenizer = SiglipTokenizer(spiece, "</s>", CONTEXT_LENGTH, VOCABULARY)
    assert [text for text, ids in expected if tokenizer.ids([text]) != [ids]] == []


def test_siglip2_texts_have_the_ids_of_transformers() -> None:
    expected = pairs(FIXTURES / "siglip2" / "tokens.json.gz")
    assert len(expected) > 1000
    tokenizer = SiglipTokenizer(FIXTURES / "siglip2" / "tokenizer.json", "<pad>", CONTEXT_LENGTH, VOCABULARY)
    assert [text for text, ids in expected if tokenizer.ids([text]) != [ids]] == []


@pytest.mark.parametrize("text", ["", " ", "\ud800", "[SEP]", "</s>", "▁▁", "a\x00b"])
def test_any_text_has_ids(text: str, spiece: Path) -> None:
    assert len(ChineseTokenizer(52).ids([text])[0]) >= 2
    assert len(SiglipTokenizer(spiece, "</s>", CONTEXT_LENGTH, VOCABULARY).ids([text])[0]) == CONTEXT_LENGTH


def test_a_text_is_canonical_without_punctuation_case_and_double_spaces() -> None:
    assert canonical("  A photo,  of\n the Cat's «bird_house»! ") == "a photo of the cats «birdhouse»"


def test_a_text_that_does_not_fit_is_refused(spiece: Path) -> None:
    with pytest.raises(ZeroshotError, match=r"a text of 53 tokens.*Chinese-CLIP reads at most 52.*shorten it"):
        ChineseTokenizer(52).ids(["狗" * 51])
    with pytest.raises(ZeroshotError, match=r"where SigLIP reads at most 64"):
        SiglipTokenizer(spiece, "</s>", CONTEXT_LENGTH, VOCABULARY).ids(["a photo of a dog " * 40])


def test_a_tokenizer_of_another_model_is_refused(spiece: Path) -> None:
    with pytest.raises(OtherModelError, match=r"has 1000 tokens, where the weights have 32000"):
        SiglipTokenizer(spiece, "</s>", CONTEXT_LENGTH, 32000)
    with pytest.raises(ZeroshotError, match=r"has no token \[PAD\], with which texts are padded: set model\.pad_token"):
        SiglipTokenizer(spiece, "[PAD]", CONTEXT_LENGTH, VOCABULARY)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x0a\xff", b"<html>"])
@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model"])
def test_a_damaged_tokenizer_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ZeroshotError, match=r"can't be read as a tokenizer .*: get it again"):
        SiglipTokenizer(tmp_path / name, "</s>", CONTEXT_LENGTH, VOCABULARY)


def test_the_tokenizer_is_found_beside_the_weights(tmp_path: Path) -> None:
    weights = tmp_path / "own.safetensors"
    with pytest.raises(ZeroshotError, match=r"there is no tokenizer\.json or spiece\.model beside it"):
        tokenizer_file(weights)
    for name in ("spiece.model", "tokenizer.json", "own.spiece.model"):  # each goes before those so far
        (tmp_path / name).touch()
        assert tokenizer_file(weights).name == name
