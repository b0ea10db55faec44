"""The tokenizer against ids that OpenAI's own gives, and what it promises for any text."""

import gzip
import hashlib
import html
import json
from pathlib import Path

import ftfy
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import CONTEXT_LENGTH, VOCABULARY
from zeroshot.models.tokenizer import EOT, MERGE_TABLE, SOT, Tokenizer

TOKENIZER = Tokenizer()
FIXTURE = Path(__file__).parent / "fixtures" / "tokens.json.gz"
REFERENCE: dict[str, list[tuple[str, list[int]]]] = json.loads(gzip.decompress(FIXTURE.read_bytes()))
PARTS = {merged: pair for pair, merged in TOKENIZER._merges.items()}
# Of every kind, halves of surrogate pairs too, and often what cleaning and splitting look for.
TEXTS = st.text(st.characters()) | st.lists(
    st.sampled_from([*"aZ é'<|>&;#x39 \t\n\x1c\x85\u3000\u200bſİΣß日😀", "&amp;", "'LL", "<|endoftext|>", "â€™"])
).map("".join)


def test_merge_table_is_the_one_that_openai_published() -> None:
    digest = hashlib.sha256(MERGE_TABLE.read_bytes()).hexdigest()
    assert digest == "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"


def test_vocabulary_ends_where_the_marks_begin() -> None:
    assert (SOT, EOT) == (VOCABULARY - 2, VOCABULARY - 1)
    assert sorted(TOKENIZER._merges.values()) == list(range(512, SOT))


@pytest.mark.parametrize("kind", REFERENCE)
def test_ids_are_those_of_openai(kind: str) -> None:
    different = [text for text, ids in REFERENCE[kind] if TOKENIZER.encode(text) != ids]
    assert not different


def test_reference_is_large_and_mostly_not_class_names() -> None:
    texts = {kind: {text for text, _ in pairs} for kind, pairs in REFERENCE.items()}
    assert len(set().union(*texts.values())) >= 5000
    assert len(set().union(*texts.values()) - texts["class names × templates"]) >= 3000


def test_known_ids() -> None:
    assert TOKENIZER.encode("a photo of a dog.") == [320, 1125, 539, 320, 1929, 269]
    assert TOKENIZER.encode("") == []


def test_marks_inside_a_text_are_marks() -> None:
    assert TOKENIZER.encode("<|startoftext|> a <|EndOfText|>") == [SOT, 320, EOT]


def test_rows_hold_the_ids_between_marks_padded_with_zero() -> None:
    tokens = TOKENIZER(["a dog", ""])
    assert tokens.shape == (2, CONTEXT_LENGTH)
    assert tokens.dtype == np.int32
    assert tokens[0, :5].tolist() == [SOT, 320, 1929, EOT, 0]
    assert tokens[1, :3].tolist() == [SOT, EOT, 0]
    assert not tokens[:, 5:].any()


def test_no_texts_give_no_rows() -> None:
    assert TOKENIZER([]).shape == (0, CONTEXT_LENGTH)


def test_a_text_of_75_tokens_fits_and_one_more_is_refused_with_text_and_length() -> None:
    assert TOKENIZER(["dog " * 75])[0, -1] == EOT
    with pytest.raises(ZeroshotError, match=r"78 tokens.*77.*'dog dog dog.*\.\.\.'"):
        TOKENIZER(["short", "dog " * 76])


def test_the_refused_text_is_printed_whole_when_it_is_short() -> None:
    text = "𝒜𒀀" * 20
    with pytest.raises(ZeroshotError, match=f"tokens.*'{text}'"):
        TOKENIZER([text])


def test_a_very_long_word_is_refused_without_merging_it() -> None:
    with pytest.raises(ZeroshotError, match="more than 31250 tokens"):
        TOKENIZER(["ab" * 500_000])


def test_one_text_instead_of_a_list_is_refused() -> None:
    with pytest.raises(ZeroshotError, match="list of texts, got the one text 'a dog'"):
        TOKENIZER("a dog")


@given(TEXTS)
@example("\ud800")
def test_any_text_has_ids_and_the_same_without_the_cache(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert all(0 <= token < VOCABULARY for token in ids)
    TOKENIZER._encode_word.cache_clear()
    assert TOKENIZER.encode(text) == ids


@given(TEXTS)
def test_any_text_makes_a_row_or_is_refused_for_its_length(text: str) -> None:
    ids = TOKENIZER.encode(text)
    if len(ids) + 2 > CONTEXT_LENGTH:
        with pytest.raises(ZeroshotError, match=f"{len(ids) + 2} tokens"):
            TOKENIZER([text])
    else:
        assert TOKENIZER([text])[0, : len(ids) + 2].tolist() == [SOT, *ids, EOT]


# U+0345 is the one sign that OpenAI's pattern drops: its capital is a letter, so neither alternative takes it.
@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Z"], exclude_characters="\u0345")))
def test_ids_of_a_text_spell_its_cleaned_words(text: str) -> None:
    cleaned = html.unescape(html.unescape(ftfy.fix_text(text))).lower()
    spelt = b"".join(_bytes_of(token) for token in TOKENIZER.encode(text))
    assert spelt.decode() == "".join(character for character in cleaned if not character.isspace())


@given(st.lists(st.text("abcXYZ09'!éß日😀", min_size=1)), st.text(" \t\r\n\u3000\xa0\u2028", min_size=1))
def test_any_white_space_is_one_space(words: list[str], space: str) -> None:
    assert TOKENIZER.encode(space + space.join(words) + space) == TOKENIZER.encode(" ".join(words))


@given(st.text("abcXYZ 'ΔδИи日"))
def test_capitals_do_not_matter(text: str) -> None:
    assert TOKENIZER.encode(text) == TOKENIZER.encode(text.lower())


def _bytes_of(token: int) -> bytes:
    """The bytes that an id stands for, by undoing its merges."""
    if token in (SOT, EOT):
        return b"<|startoftext|>" if token == SOT else b"<|endoftext|>"
    if token < 512:
        return bytes([TOKENIZER._byte_ids.index(token % 256)])
    first, second = PARTS[token]
    return _bytes_of(first) + _bytes_of(second)
