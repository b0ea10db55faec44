"""Every format gives the same weights to the last bit, and a broken file gives one line."""

import contextlib
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.drawn import SMALL, draw
from tests.models.checkpoints.broken_files import BROKEN, KNOWN, MARKER, OTHER, Broken
from tests.models.checkpoints.checkpoint_files import (
    Tensors,
    halves,
    huggingface_names,
    mindformers_names,
    write_mindspore,
    write_safetensors,
    write_script,
    write_torch,
)
from zeroshot.config.named import known_models
from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import CONTEXT_LENGTH, OPENAI_MEAN, OPENAI_STD, VOCABULARY, Architecture
from zeroshot.models.checkpoints import files as container
from zeroshot.models.checkpoints.identity import file_digest, identify, tensor_digest
from zeroshot.models.checkpoints.load import load
from zeroshot.models.checkpoints.save import save
from zeroshot.models.checkpoints.settings import Settings

ROOT = Path(__file__).parents[3]
FIXTURES = Path(__file__).parents[1] / "fixtures"
Written = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def drawn() -> Written:
    return draw(SMALL)


@pytest.fixture(scope="module")
def coarse(drawn: Written) -> Written:
    """Weights that float16 and bfloat16 hold exactly."""
    return halves(drawn)


def huggingface_folder(folder: Path, tensors: Tensors, dtype: str) -> Path:
    write_safetensors(folder / "model.safetensors", huggingface_names(tensors), dtype, format="pt")
    return folder


def shards(folder: Path, tensors: Tensors, dtype: str) -> Path:
    """Two shards and their index."""
    names = huggingface_names(tensors)
    halves = {
        "model-00001-of-00002.safetensors": list(names)[::2],
        "model-00002-of-00002.safetensors": list(names)[1::2],
    }
    for file, kept in halves.items():
        write_safetensors(folder / file, {name: names[name] for name in kept}, dtype)
    index = {"metadata": {}, "weight_map": {name: file for file, kept in halves.items() for name in kept}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def wrapped(folder: Path, tensors: Tensors, dtype: str) -> Path:
    """What a training script saves: the weights of a parallel model, among other things."""
    from tests.models.checkpoints.checkpoint_files import Build, Call, Global, TorchFile

    made = TorchFile()
    state = {f"module.{name}": made.add(values, dtype) for name, values in tensors.items()}
    ordered = Build(Call(Global("collections", "OrderedDict"), (list(map(list, state.items())),)), {"_metadata": {}})
    return made.write(folder / "epoch_32.pt", {"epoch": 32, "name": "run", "state_dict": ordered, "optimizer": {}})


# by its name in `Checkpoint.format`: how it is written, and the dtypes in which it is
FORMATS: dict[str, tuple[str, Callable[[Path, Tensors, str], Path]]] = {
    "OpenAI's archive": ("openai-torchscript", lambda f, t, d: write_script(f / "a.pt", t, d)),
    "a state dict": ("openai-torch", lambda f, t, d: write_torch(f / "a.pth", t, d)),
    "a wrapped state dict": ("openai-torch", wrapped),
    "open_clip's safetensors": ("openai-safetensors", lambda f, t, d: write_safetensors(f / "open_clip", t, d)),
    "Hugging Face's folder": ("huggingface-safetensors", huggingface_folder),
    "Hugging Face's file": (
        "huggingface-safetensors",
        lambda f, t, d: huggingface_folder(f, t, d) / "model.safetensors",
    ),
    "Hugging Face's shards": ("huggingface-safetensors", shards),
    "Hugging Face's index": (
        "huggingface-safetensors",
        lambda f, t, d: shards(f, t, d) / "model.safetensors.index.json",
    ),
    "Hugging Face's .bin": (
        "huggingface-torch",
        lambda f, t, d: write_torch(f / "pytorch_model.bin", huggingface_names(t), d),
    ),
    "MindFormers' .ckpt": ("mindformers-ckpt", lambda f, t, d: write_mindspore(f / "a.ckpt", mindformers_names(t), d)),
    "a .ckpt with a CRC": (
        "mindformers-ckpt",
        lambda f, t, d: write_mindspore(f / "a.ckpt", mindformers_names(t), d, crc=True),
    ),
    "MindFormers' safetensors": (
        "mindformers-safetensors",
        lambda f, t, d: write_safetensors(f / "a", mindformers_names(t), d),
    ),
}


def assert_same(found: Tensors, expected: Tensors) -> None:
    """The same names, shapes and bits, in float32 and C order."""
    assert set(found) == set(expected)
    for name, values in found.items():
        assert values.dtype == np.float32, name
        assert values.shape == expected[name].shape, name
        assert values.flags.c_contiguous, name
        assert values.tobytes() == np.asarray(expected[name], np.float32).tobytes(), name


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_weights_to_the_last_bit(
    kind: str, dtype: str, tmp_path: Path, drawn: Written, coarse: Written
) -> None:
    name, write = FORMATS[kind]
    expected = drawn if dtype == "float32" else coarse
    checkpoint = load(write(tmp_path, expected, dtype), SMALL)
    assert checkpoint.format == name
    assert checkpoint.token_ids is None
    assert_same(checkpoint.tensors, expected)


@pytest.mark.parametrize("kind", FORMATS)
def test_converting_in_a_circle_keeps_the_bits(kind: str, tmp_path: Path, drawn: Written) -> None:
    """Through float32 from any format, through float16 once they are float16's."""
    first = load(FORMATS[kind][1](tmp_path, drawn, "float32"), SMALL)
    save(first.tensors, tmp_path / "32.safetensors", "float32")
    second = load(tmp_path / "32.safetensors", SMALL)
    assert second.format == "openai-safetensors"
    assert_same(second.tensors, drawn)
    save(second.tensors, tmp_path / "16.safetensors", "float16")
    third = load(tmp_path / "16.safetensors", SMALL)
    assert_same(third.tensors, {name: values.astype("f2").astype("f4") for name, values in drawn.items()})
    save(third.tensors, tmp_path / "again.safetensors", "float32")
    save(load(tmp_path / "again.safetensors", SMALL).tensors, tmp_path / "16-again.safetensors", "float16")
    assert (tmp_path / "16.safetensors").read_bytes() == (tmp_path / "16-again.safetensors").read_bytes()


def test_a_name_that_lies_changes_nothing(tmp_path: Path, drawn: Written) -> None:
    paths = [
        write_safetensors(tmp_path / "a.pt", drawn),
        write_torch(tmp_path / "a.safetensors", drawn),
        write_script(tmp_path / "a.ckpt", drawn, "float32"),
    ]
    for path in paths:
        assert_same(load(path, SMALL).tensors, drawn)


@pytest.mark.parametrize("name", ["archive.pt.gz", "state_dict.pt.gz"])
def test_what_torch_itself_wrote_is_read(name: str, tmp_path: Path) -> None:
    """Files of `tests/reference/make_weights.py`, with the digest that torch had of their tensors."""
    expected = json.loads((FIXTURES / "weights.json").read_text())
    path = tmp_path / "weights.pt"
    path.write_bytes(gzip.decompress((FIXTURES / name).read_bytes()))
    checkpoint = load(path, Architecture(**expected["architecture"]))
    assert checkpoint.format == expected["files"][name]["format"]
    assert checkpoint.settings.activation == expected["files"][name]["activation"]
    assert tensor_digest(checkpoint.tensors) == expected["digest"]
    assert len({values.tobytes() for values in checkpoint.tensors.values()}) == len(checkpoint.tensors)


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_file_is_one_line_and_nothing_is_run_or_made(
    broken: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if broken.by_mode and os.geteuid() == 0:
        pytest.skip("root reads a file whatever its mode")
    path = broken.write(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")}
    capfd.readouterr()
    with pytest.raises(ZeroshotError, match=broken.said) as caught:
        load(path, SMALL, KNOWN)
    line = str(caught.value)
    assert str(path if path.suffix else tmp_path) in line
    assert "\n" not in line
    assert len(line) < 700 + 2 * len(str(path))
    assert {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")} == before
    assert not (elsewhere / MARKER).exists()
    assert capfd.readouterr() == ("", "")


def test_a_file_that_may_not_be_read_is_refused(
    tmp_path: Path, drawn: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's refusal, played, since root never meets it."""
    path = write_safetensors(tmp_path / "a", drawn)

    def refuse(self: Path, mode: str = "r") -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ZeroshotError, match=r"a: can't be read \(Permission denied\)"):
        load(path, SMALL)


TINY = replace(SMALL, image_size=16, vision_width=64, vision_layers=1, text_layers=1)
SOUND: dict[str, bytes] = {}


def few_rows() -> Tensors:
    """Weights in a small file: the rows of three tokens."""
    drawn = draw(TINY)
    rows = drawn["token_embedding.weight"][:3]
    return {**drawn, "token_embedding.weight": rows, "token_ids": np.arange(3)}


def sound_file(kind: str, folders: pytest.TempPathFactory) -> bytes:
    """A file of those weights, with a CRC over its values."""
    if kind not in SOUND:
        folder = folders.mktemp("sound")
        if kind == "torch":
            path = write_torch(folder / "a.pt", few_rows())
        elif kind == "script":
            path = write_script(folder / "a.pt", few_rows(), "float32")
        else:
            path = write_mindspore(folder / "a.ckpt", mindformers_names(few_rows()), crc=True)
        SOUND[kind] = path.read_bytes()
    return SOUND[kind]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_damage_gives_another_number_or_another_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bytes changed, put in or cut out anywhere: the weights as they were, or a ZeroshotError."""
    damaged = bytearray(sound_file(data.draw(st.sampled_from(["torch", "script", "ckpt"])), tmp_path_factory))
    for _ in range(data.draw(st.integers(1, 3))):
        # the ends of a file hold its structure, the middle only values
        place = data.draw(st.integers(0, 20_000) | st.integers(len(damaged) - 20_000, len(damaged) - 1))
        length = data.draw(st.integers(0, 9))
        damaged[place : place + length] = data.draw(st.binary(max_size=9))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    with contextlib.suppress(ZeroshotError):
        found = load(path, TINY).tensors
        found["token_embedding.weight"] = found["token_embedding.weight"][:3]
        assert_same(found, {name: values for name, values in few_rows().items() if name != "token_ids"})


@settings(max_examples=60, deadline=None)
@example(start=b"", rest=b"\x80")
@given(start=st.binary(max_size=40), rest=st.binary(max_size=400))
def test_no_file_at_all_gives_another_error(
    start: bytes, rest: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any weights"
    for magic in (b"", b"PK\x03\x04", b"\x0a\x20\x0a\x08", b"\x10\x00\x00\x00\x00\x00\x00\x00{", b'{"weight_map": '):
        path.write_bytes(magic + start + rest)
        with pytest.raises(ZeroshotError, match=str(path)):
            load(path, SMALL)


def test_another_size_is_refused_with_the_word_to_type(tmp_path: Path) -> None:
    path = write_torch(tmp_path / "a.pt", huggingface_names(draw(OTHER)))
    with pytest.raises(ZeroshotError, match="those of other: type model=other"):
        load(path, SMALL, KNOWN)
    with pytest.raises(ZeroshotError, match=r"position_embedding\.weight \[65, 128\] for \[17, 128\]"):
        load(path, SMALL)
    deeper = replace(SMALL, vision_layers=4)
    with pytest.raises(ZeroshotError, match="missing: 16 tensors") as caught:
        load(path, deeper, {"deeper": deeper})
    assert "type model=" not in str(caught.value)
    assert load(path, OTHER, KNOWN).format == "huggingface-torch"


EXTRAS = {
    "input_resolution": np.array(SMALL.image_size),
    "context_length": np.array(CONTEXT_LENGTH),
    "vocab_size": np.array([VOCABULARY]),
    "attn_mask": np.triu(np.full((CONTEXT_LENGTH, CONTEXT_LENGTH), -np.inf, np.float32), 1),
    "transformer.resblocks.1.attn_mask": np.triu(np.full((CONTEXT_LENGTH, CONTEXT_LENGTH), -np.inf, np.float32), 1),
    "text_model.embeddings.position_ids": np.arange(CONTEXT_LENGTH)[None],
    "vision_model.embeddings.position_ids": np.arange(SMALL.patches + 1)[None],
}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_known_entry_beside_the_weights_is_admitted_if_it_says_what_it_must(
    name: str, tmp_path: Path, drawn: Written
) -> None:
    named: Tensors = huggingface_names(drawn) if "embeddings" in name else drawn
    for write in (write_safetensors, write_torch):
        assert_same(load(write(tmp_path / "good", {**named, name: EXTRAS[name]}), SMALL).tensors, drawn)
        for wrong in (EXTRAS[name] + 1, np.zeros((300, 300), np.float32)):
            with pytest.raises(ZeroshotError, match=f"'{name}' differs from that of a CLIP"):
                load(write(tmp_path / "wrong", {**named, name: wrong}), SMALL)


def test_numbers_in_a_state_dict_are_read_as_its_entries(tmp_path: Path, drawn: Written) -> None:
    path = write_torch(tmp_path / "a.pt", drawn, input_resolution=SMALL.image_size, context_length=CONTEXT_LENGTH)
    assert_same(load(path, SMALL).tensors, drawn)
    with pytest.raises(ZeroshotError, match="'context_length' differs"):
        load(write_torch(tmp_path / "a.pt", drawn, context_length=76), SMALL)
    with pytest.raises(ZeroshotError, match=r"not a CLIP's: 1 tensor \(epoch\)"):
        load(write_torch(tmp_path / "a.pt", drawn, epoch=3), SMALL)


def test_a_scale_of_one_element_is_a_scalar(tmp_path: Path, drawn: Written) -> None:
    longer = {**drawn, "logit_scale": drawn["logit_scale"].reshape(1)}
    for write in (write_safetensors, write_torch, write_mindspore):
        path = write(tmp_path / "a.ckpt", longer)
        assert_same(load(path, SMALL).tensors, drawn)


def test_whole_numbers_are_no_weights(tmp_path: Path, drawn: Written) -> None:
    path = write_safetensors(tmp_path / "a", {**drawn, "ln_final.bias": np.zeros(64, np.int64)})
    with pytest.raises(ZeroshotError, match=r"not of floats: 1 tensor \(ln_final\.bias int64\)"):
        load(path, SMALL)


def test_float64_is_rounded_and_what_does_not_fit_is_refused(tmp_path: Path, drawn: Written) -> None:
    doubles = {name: values.astype(np.float64) for name, values in drawn.items()}
    assert_same(load(write_torch(tmp_path / "a", doubles, "float64"), SMALL).tensors, drawn)
    doubles["ln_final.bias"][0] = 1e300
    with pytest.raises(ZeroshotError, match=r"NaN or infinity in 1 tensor \(ln_final\.bias\)"):
        load(write_torch(tmp_path / "a", doubles, "float64"), SMALL)


def test_what_a_file_calls_its_tensors_stays_short_and_printable(tmp_path: Path, drawn: Written) -> None:
    path = write_torch(tmp_path / "a", {**drawn, "\x1b[31mred\n" + "x" * 100_000: np.zeros(1, np.float32)})
    with pytest.raises(ZeroshotError, match="not a CLIP's: 1 tensor") as caught:
        load(path, SMALL)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


# the rows of some tokens alone


def test_rows_of_some_tokens_come_back_at_their_places(tmp_path: Path, drawn: Written) -> None:
    ids = np.array([0, 320, 49406, 49407, 1125])
    save(drawn, tmp_path / "few.safetensors", "float32", token_ids=ids)
    assert (tmp_path / "few.safetensors").stat().st_size < sum(v.nbytes for v in drawn.values()) / 3
    checkpoint = load(tmp_path / "few.safetensors", SMALL)
    assert checkpoint.token_ids is not None
    assert checkpoint.token_ids.tolist() == ids.tolist()
    expected = np.zeros_like(drawn["token_embedding.weight"])
    expected[ids] = drawn["token_embedding.weight"][ids]
    assert_same(checkpoint.tensors, {**drawn, "token_embedding.weight": expected})
    save(checkpoint.tensors, tmp_path / "again.safetensors", "float32", token_ids=checkpoint.token_ids)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "few.safetensors").read_bytes()


@pytest.mark.parametrize(
    "ids", [[0, 0], [0, VOCABULARY], [-1, 0], [0.0, 1.0], [[0, 1]], [0, 1, 2]], ids=lambda ids: str(ids)
)
def test_token_ids_that_are_none_are_refused(tmp_path: Path, drawn: Written, ids: list[Any]) -> None:
    few = {**drawn, "token_embedding.weight": drawn["token_embedding.weight"][:2], "token_ids": np.array(ids)}
    with pytest.raises(ZeroshotError, match=r"token_ids|token_embedding\.weight \[2, 64\] for \[3, 64\]"):
        load(write_safetensors(tmp_path / "few", few), SMALL)


# what else a file tells


def small_config(act: str = "gelu", **vision: object) -> dict[str, object]:
    """A config.json for `SMALL`, as save_pretrained writes it."""
    tower = {"hidden_size": 128, "num_hidden_layers": 3, "patch_size": 8, "num_attention_heads": 2, "hidden_act": act}
    text = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "hidden_act": act}
    return {"model_type": "clip", "vision_config": {**tower, **vision}, "text_config": text}


def open_clip_config(**model: object) -> dict[str, object]:
    """An open_clip_config.json for `SMALL`."""
    vision, text = {"width": 128, "layers": 3, "patch_size": 8}, {"width": 64, "heads": 1, "layers": 2}
    return {"model_cfg": {"embed_dim": 64, "vision_cfg": vision, "text_cfg": text, **model}}


@pytest.mark.parametrize(
    ("configs", "names", "expected"),
    [
        ({}, "huggingface", None),
        ({"config.json": small_config("gelu")}, "huggingface", "gelu"),
        ({"config.json": small_config("quick_gelu")}, "huggingface", "quick_gelu"),
        ({"config.json": {**small_config(), "text_config_dict": {"hidden_act": "gelu"}}}, "huggingface", "gelu"),
        ({"config.json": small_config("gelu", hidden_size=192)}, "huggingface", None),
        ({"config.json": {"model_type": "bert"}}, "huggingface", None),
        ({"config.json": [1]}, "huggingface", None),
        ({"config.json": small_config("gelu")}, "openai", "gelu"),
        ({"open_clip_config.json": open_clip_config()}, "openai", "gelu"),
        ({"open_clip_config.json": open_clip_config(quick_gelu=True)}, "openai", "quick_gelu"),
        ({"open_clip_config.json": open_clip_config(), "config.json": small_config("quick_gelu")}, "openai", "gelu"),
        (
            {"open_clip_config.json": open_clip_config(), "config.json": small_config("quick_gelu")},
            "huggingface",
            "quick_gelu",
        ),
    ],
)
def test_a_config_beside_the_weights_tells_the_activation(
    configs: dict[str, Any], names: str, expected: str | None, tmp_path: Path, drawn: Written
) -> None:
    path = write_safetensors(tmp_path / "a", huggingface_names(drawn) if names == "huggingface" else drawn)
    for name, config in configs.items():
        (tmp_path / name).write_text(json.dumps(config))
    assert load(path, SMALL).settings.activation == expected


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("config.json", small_config("gelu_new"), "hidden_act is gelu_new"),
        ("config.json", {**small_config("gelu"), "text_config_dict": {"hidden_act": "quick_gelu"}}, "hidden_act"),
        ("config.json", small_config(num_attention_heads=4), "vision_config.num_attention_heads is 4"),
        ("config.json", small_config(layer_norm_eps=1e-6), "layer_norm_eps is 1e-06"),
        ("config.json", {"model_type": "clip", "vision_config": [1]}, "can't be read as a config"),
        ("open_clip_config.json", {**open_clip_config(), "preprocess_cfg": {"resize_mode": "longest"}}, "resize_mode"),
        ("open_clip_config.json", {"model_cfg": [1]}, "can't be read as a config"),
    ],
)
def test_a_network_that_is_not_this_one_is_refused(
    name: str, config: object, said: str, tmp_path: Path, drawn: Written
) -> None:
    path = write_safetensors(tmp_path / "a", drawn)
    (tmp_path / name).write_text(json.dumps(config))
    with pytest.raises(ZeroshotError, match=f"{name}: .*{said}"):
        load(path, SMALL)


HALF = (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("preprocessor", "expected"),
    [
        ({}, (None, None, None)),
        ({"image_mean": [0.4815, 0.4578, 0.4082], "image_std": list(OPENAI_STD)}, (OPENAI_MEAN, OPENAI_STD, None)),
        ({"image_std": list(HALF), "size": 224}, (None, HALF, "shortest")),
        ({"size": {"shortest_edge": 224}, "do_center_crop": True}, (None, None, "shortest")),
        ({"size": {"height": 224, "width": 224}, "do_center_crop": False}, (None, None, "squash")),
    ],
)
def test_a_preprocessor_beside_the_weights_says_mean_std_and_resize(
    preprocessor: dict[str, Any], expected: tuple[Any, ...], tmp_path: Path, drawn: Written
) -> None:
    path = write_safetensors(tmp_path / "a", huggingface_names(drawn))
    (tmp_path / "config.json").write_text(json.dumps(small_config()))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    found = load(path, SMALL).settings
    assert (found.mean, found.std, found.resize) == expected


@pytest.mark.parametrize("mean", [[0.5], [0.5, 0.5, "x"], 0.5, [0.5, 0.5, float("nan")]])
def test_a_mean_that_is_not_three_numbers_is_refused(mean: object, tmp_path: Path, drawn: Written) -> None:
    path = write_safetensors(tmp_path / "a", huggingface_names(drawn))
    (tmp_path / "config.json").write_text(json.dumps(small_config()))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": mean}))
    with pytest.raises(ZeroshotError, match="can't be read as a config"):
        load(path, SMALL)


@pytest.mark.parametrize("mean", ["", "x y z", "0.5", "nan nan nan", "1 2 3 4"])
def test_metadata_of_another_form_is_unknown(mean: str, tmp_path: Path, drawn: Written) -> None:
    assert load(write_safetensors(tmp_path / "a", drawn, mean=mean), SMALL).settings == Settings()


def test_open_clips_config_says_mean_std_and_resize(tmp_path: Path, drawn: Written) -> None:
    path = write_safetensors(tmp_path / "a", drawn)
    pixels = {"mean": list(HALF), "std": list(HALF), "resize_mode": "squash", "interpolation": "bicubic"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({**open_clip_config(), "preprocess_cfg": pixels}))
    assert load(path, SMALL).settings == Settings("gelu", HALF, HALF, "squash")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_b_32-quickgelu-laion400m_e31-d867053b.pt", "quick_gelu"),
        ("vit_b_32-laion2b_e16-af8dbd0c.pth", "gelu"),
        ("vit_l_14-laion400m_e32-3d133497.pt", "gelu"),
        ("models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K/snapshots/0123/open_clip_model.safetensors", "gelu"),
        ("models--laion--CLIP-ViT-B-16-DataComp.XL-s13B-b90K/snapshots/0123/model.safetensors", "gelu"),
        ("models--openai--clip-vit-base-patch32/snapshots/0123/model.safetensors", "quick_gelu"),
        ("laion2b-experiments/mine.pt", None),
        ("models--laion--CLIP-ViT-L-14-laion2B-s32B-b82K/snapshots/0/open_clip_model.safetensors", "gelu"),
        ("models--timm--vit_base_patch32_clip_224.laion400m_e32/snapshots/0/model.safetensors", "quick_gelu"),
        ("models--apple--DFN2B-CLIP-ViT-L-14-39B/snapshots/0/open_clip_pytorch_model.bin", "gelu"),
        ("models--apple--DFN2B-CLIP-ViT-L-14/snapshots/0/open_clip_pytorch_model.bin", "quick_gelu"),
        ("b32_400m.pt", None),
        ("mine.pt", None),
    ],
)
def test_a_known_name_tells_the_activation(name: str, expected: str | None, tmp_path: Path, drawn: Written) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    assert load(write_safetensors(path, drawn), SMALL).settings.activation == expected


@pytest.mark.parametrize(("gelu", "expected"), [("QuickGELU", "quick_gelu"), ("GELU", "gelu"), ("SiLU", None)])
def test_an_archive_tells_its_activation_by_the_class(
    gelu: str, expected: str | None, tmp_path: Path, drawn: Written
) -> None:
    path = write_script(tmp_path / "a.pt", drawn, "float32", gelu)
    assert load(path, SMALL).settings.activation == expected
    (tmp_path / "config.json").write_text(json.dumps(small_config("gelu")))
    assert load(path, SMALL).settings.activation == (expected or "gelu"), "the archive itself comes first"


def test_a_saved_file_says_its_settings(tmp_path: Path, drawn: Written) -> None:
    trained = Settings("gelu", (0.5, 0.25, 0.1), OPENAI_STD, "squash")
    save(drawn, tmp_path / "a", "float32", source="ViT-B-32.pt", settings=trained, licence="CC-BY-NC-4.0")
    assert load(tmp_path / "a", SMALL).settings == trained
    save(drawn, tmp_path / "a", "float32")
    assert load(tmp_path / "a", SMALL).settings.activation is None
    write_safetensors(tmp_path / "a", drawn, activation="of another kind")
    assert load(tmp_path / "a", SMALL).settings.activation is None


# identity


def test_the_digest_is_the_same_in_every_format_and_another_for_another_weight(
    tmp_path: Path, drawn: Written, coarse: Written
) -> None:
    digests = set()
    for kind, (_, write) in FORMATS.items():
        folder = tmp_path / kind.replace("/", "-")
        folder.mkdir()
        digests.add(tensor_digest(load(write(folder, coarse, "float16"), SMALL).tensors))
    assert len(digests) == 1
    assert tensor_digest(drawn) not in digests
    half = {name: values.astype("f2").astype("f4") for name, values in drawn.items()}
    assert tensor_digest(half) == tensor_digest(drawn)
    half["logit_scale"] = np.nextafter(half["logit_scale"].astype("f2"), np.float16(9)).astype("f4")
    assert tensor_digest(half) != tensor_digest(drawn)


def test_the_digest_is_what_its_description_says(drawn: Written) -> None:
    content = b""
    for name in sorted(drawn):
        shape = ",".join(str(size) for size in drawn[name].shape)
        content += name.encode() + b"\0" + shape.encode() + b"\0" + drawn[name].astype("<f2").tobytes()
    assert tensor_digest(drawn) == hashlib.sha256(content).hexdigest()
    assert tensor_digest(dict(reversed(drawn.items()))) == tensor_digest(drawn)


def test_weights_are_recognised_by_the_table(drawn: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    assert identify(drawn) is None
    monkeypatch.setattr(
        "zeroshot.models.checkpoints.identity._identities", lambda: {"tensors": {tensor_digest(drawn): "clip_vit_b_32"}}
    )
    assert identify(drawn) == "clip_vit_b_32"
    assert identify(draw(SMALL, seed=1)) is None


def test_the_table_names_known_models_by_sha256() -> None:
    table = json.loads((ROOT / "zeroshot" / "models" / "checkpoints" / "identities.json").read_text())
    assert set(table) == {"tensors", "files"}
    named = {**table["tensors"], **table["files"]}
    assert all(len(digest) == 64 and set(digest) <= set("0123456789abcdef") for digest in named)
    assert set(named.values()) <= set(known_models())


def test_the_digest_of_a_file_or_folder_is_that_of_its_content(tmp_path: Path, drawn: Written) -> None:
    path = write_safetensors(tmp_path / "model.safetensors", drawn)
    assert file_digest(path) == file_digest(tmp_path) == hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "sharded").mkdir()
    folder = shards(tmp_path / "sharded", drawn, "float32")
    digests = [hashlib.sha256(part.read_bytes()).hexdigest() for part in sorted(folder.glob("*.safetensors"))]
    assert file_digest(folder) == hashlib.sha256("".join(digests).encode()).hexdigest()
    with pytest.raises(ZeroshotError, match="no such file"):
        file_digest(tmp_path / "nothing")


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path, drawn: Written) -> None:
    shards(tmp_path, drawn, "float32")
    write_safetensors(tmp_path / "model-00002-of-00002.safetensors", huggingface_names(drawn))
    with pytest.raises(ZeroshotError, match="is in two of its shards"):
        load(tmp_path, SMALL)


# saving


def test_a_value_that_float16_cannot_hold_is_not_written(tmp_path: Path, drawn: Written) -> None:
    large = {**drawn, "ln_final.bias": np.full(64, 7e4, np.float32)}
    with pytest.raises(ZeroshotError, match=r"float16 can't represent the values of ln_final\.bias"):
        save(large, tmp_path / "a", "float16")
    assert not list(tmp_path.iterdir())
    save(large, tmp_path / "a", "float32")
    assert_same(load(tmp_path / "a", SMALL).tensors, large)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, drawn: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.safetensors"
    save(drawn, path, "float32")
    before = path.read_bytes()

    def stop(file: BinaryIO, *_: object) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zeroshot.models.checkpoints.save.write_safetensors", stop)
    with pytest.raises(ZeroshotError, match=r"a\.safetensors: can't be written .*No space left"):
        save(draw(SMALL, seed=1), path, "float32")
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    (tmp_path / "file").write_text("")
    with pytest.raises(ZeroshotError, match="can't be written"):
        save(drawn, tmp_path / "file" / "a", "float32")


# lean


@pytest.mark.parametrize("kind", FORMATS)
def test_reading_holds_little_more_than_the_weights(kind: str, tmp_path: Path, coarse: Written) -> None:
    whole = sum(values.nbytes for values in coarse.values())
    for dtype in ("float32", "float16"):
        path = FORMATS[kind][1](tmp_path, coarse, dtype)
        tracemalloc.start()
        load(path, SMALL)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2.2 * whole, dtype


def test_reading_loads_neither_torch_nor_mindspore(tmp_path: Path, drawn: Written) -> None:
    paths = [write_script(tmp_path / "a.pt", drawn), write_mindspore(tmp_path / "a.ckpt", mindformers_names(drawn))]
    script = (
        "import sys; from pathlib import Path; from tests.drawn import SMALL\n"
        "from zeroshot.models.checkpoints.load import load\n"
        f"for path in {[str(path) for path in paths]}: load(Path(path), SMALL)\n"
        "sys.exit('torch' in sys.modules or 'mindspore' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=60)


def test_a_folder_is_searched_in_the_order_that_is_written_down(tmp_path: Path, drawn: Written) -> None:
    for name in reversed(container.FOLDER_FILES):
        if not name.endswith(".json"):
            write_safetensors(tmp_path / name, drawn)
            assert load(tmp_path, SMALL).path == tmp_path / name
