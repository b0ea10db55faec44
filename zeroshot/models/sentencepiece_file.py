"""Reads a unigram model of sentencepiece (`spiece.model`) into a tokenizer of the `tokenizers` library.

The file is a protobuf message, of `sentencepiece_model.proto`::

    message ModelProto     { repeated SentencePiece pieces = 1; optional TrainerSpec trainer_spec = 2;
                             optional NormalizerSpec normalizer_spec = 3; }
    message SentencePiece  { optional string piece = 1; optional float score = 2; optional Type type = 3; }
    message TrainerSpec    { optional ModelType model_type = 3; optional int32 unk_id = 40; … }
    message NormalizerSpec { optional bytes precompiled_charsmap = 2; optional bool add_dummy_prefix = 3;
                             optional bool remove_extra_whitespaces = 4; optional bool escape_whitespaces = 5; … }
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

UNIGRAM = 1  # of `model_type`
END = "</s>"


def read_sentencepiece(file: Path) -> Any:
    """The tokenizer of a file, whose texts begin with a space and end in `</s>`; ValueError where it is none."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    fields = list(_fields(file.read_bytes()))
    parts = {number: dict(_fields(value)) for number, value in fields if number in (2, 3)}
    pieces = [dict(_fields(value)) for number, value in fields if number == 1]
    trainer, normalizer = parts.get(2, {}), parts.get(3, {})
    if trainer.get(3, UNIGRAM) != UNIGRAM:
        raise ValueError("it is not a unigram model")
    words = [(piece[1].decode(), struct.unpack("<f", piece.get(2, bytes(4)))[0]) for piece in pieces]
    built = Tokenizer(models.Unigram(words, trainer.get(40, 0), False))
    steps: list[Any] = [normalizers.Precompiled(normalizer[2])] if normalizer.get(2) else []
    if normalizer.get(4, 1):
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    built.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    built.pre_tokenizer = pre_tokenizers.Metaspace("▁", "always", split=False)
    end = built.token_to_id(END)
    if end is None:
        raise ValueError(f"it has no {END}")
    built.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, end)])
    return built


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message by number: integers of varints, bytes of everything else."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        match key & 7:
            case 0:
                value, place = _varint(message, place)
                yield key >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, place = _varint(message, place)
            case 5:
                size = 4
            case wire:
                raise ValueError(f"wire type {wire}")
        if place + size > len(message):
            raise ValueError("it is cut short")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    number, shift = 0, 0
    while place < len(message) and shift < 70:
        byte = message[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
    raise ValueError("a number without an end")
