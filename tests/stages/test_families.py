"""Chinese-CLIP and SigLIP through the stages: weights, tokenizers, scores, warnings, and errors of wrong pairings."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from safetensors.numpy import save_file

from tests.conftest import Command
from tests.drawn import SMALL, draw
from zeroshot import pipeline
from zeroshot.config.validate import checked
from zeroshot.data import class_names
from zeroshot.errors import ZeroshotError
from zeroshot.models.architecture import Architecture
from zeroshot.models.checkpoints.load import load
from zeroshot.models.checkpoints.settings import Settings
from zeroshot.models.checkpoints.tensor_names import NAME_MAPS
from zeroshot.models.drawn import CHINESE_CLIP, SIGLIP
from zeroshot.runs.record import read_record
from zeroshot.scoring.labels import few_letters
from zeroshot.stages import encoder as stage
from zeroshot.stages.inputs import are_unchanged

TOKENIZER = Path(__file__).parents[1] / "models" / "fixtures" / "siglip2" / "tokenizer.json"
SMALL_SIGLIP = replace(SIGLIP, vocabulary=1000)  # the tokenizer's
KNOWN = {"mine": SMALL, "chinese": CHINESE_CLIP, "siglip": SIGLIP, "siglip2": SMALL_SIGLIP}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own folder with a model of each family, and pictures."""
    root = tmp_path_factory.mktemp("families")
    (root / "model").mkdir()
    (root / "siglip").mkdir()
    save_file(draw(CHINESE_CLIP), root / "chinese.safetensors")
    save_file(draw(SMALL_SIGLIP), root / "siglip" / "model.safetensors")
    shutil.copyfile(TOKENIZER, root / "siglip" / "tokenizer.json")
    chinese = {"name": "small_chinese", "language": "Chinese", **asdict(CHINESE_CLIP)}
    siglip = {"name": "small_siglip", "pad_token": "<pad>", "score": "sigmoid", **asdict(SMALL_SIGLIP)}
    siglip |= {"activation": "gelu_tanh", "resize": "squash"}
    for own, weights in ((chinese, root / "chinese.safetensors"), (siglip, root / "siglip")):
        OmegaConf.save({**own, "weights": {"path": str(weights)}}, root / "model" / f"{own['name']}.yaml")
    for place in range(2):
        pixels = np.random.default_rng(place).integers(0, 256, (40, 30, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{place}.png")
    return root


def predict(command: Command, folder: Path, *arguments: str) -> str:
    """What a prediction printed, whose run folder is `out`."""
    given = ("--config-dir", str(folder), "device=cpu", "stage=predict", f"stage.images={folder}/*.png")
    done = command(*given, *arguments, "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_siglip_scores_each_label_for_itself(zeroshot: Command, folder: Path, tmp_path: Path) -> None:
    labels = 'stage.labels=["cat","dog","bird"]'
    printed = predict(zeroshot, folder, "model=small_siglip", labels)
    assert "a score is the probability of its label by itself" in printed
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    by_pipeline = pipeline(model="small_siglip", config_dir=folder, device="cpu", prompt="openai_cifar",
                           interpolation="bicubic")  # fmt: skip
    expected = by_pipeline([folder / "0.png", folder / "1.png"], ["cat", "dog", "bird"])
    for line, scores in zip(lines, expected, strict=True):
        found = json.loads(line)["scores"]
        assert [each["label"] for each in found] == [each["label"] for each in scores]
        assert [each["score"] for each in found] == pytest.approx([each["score"] for each in scores], abs=1e-5)
        assert sum(each["score"] for each in found) != pytest.approx(1, abs=1e-3)
    alone = by_pipeline(folder / "0.png", ["cat"])
    assert alone[0][0]["score"] == pytest.approx(
        {each["label"]: each["score"] for each in expected[0]}["cat"], abs=1e-5
    )
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "of each label for itself (a sigmoid)" in page
    record = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert record["model"]["score"] == "sigmoid"
    assert Path(record["model"]["tokenizer"]["path"]).name == "tokenizer.json"
    assert len(record["model"]["tokenizer"]["sha256"]) == 64


def test_siglip_gives_a_softmax_on_request_in_the_same_order(folder: Path) -> None:
    images, labels = [folder / "0.png", folder / "1.png"], ["cat", "dog", "bird"]
    sigmoid = pipeline(model="small_siglip", config_dir=folder, device="cpu")(images, labels)
    yaml = OmegaConf.to_container(OmegaConf.load(folder / "model" / "small_siglip.yaml"))
    assert isinstance(yaml, dict)
    softmax = pipeline(model={str(key): each for key, each in (yaml | {"score": "softmax"}).items()}, device="cpu")
    for one, other in zip(sigmoid, softmax(images, labels), strict=True):
        assert [each["label"] for each in one] == [each["label"] for each in other]
        assert sum(each["score"] for each in other) == pytest.approx(1)


def test_a_converted_siglip_has_its_tokenizer_beside_it(zeroshot: Command, folder: Path, tmp_path: Path) -> None:
    given = ("--config-dir", str(folder), "stage=convert", "model=small_siglip", "stage.output=mine.safetensors")
    done = zeroshot(*given)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.tokenizer.json").read_bytes() == TOKENIZER.read_bytes()
    converted = load(tmp_path / "mine.safetensors", SMALL_SIGLIP)
    assert converted.format == "zeroshot-safetensors"
    assert all((converted.tensors[name] == values).all() for name, values in draw(SMALL_SIGLIP).items())


def test_chinese_labels_are_scored_without_a_warning(zeroshot: Command, folder: Path, tmp_path: Path) -> None:
    labels = 'stage.labels=["向日葵","狗"]'
    printed = predict(zeroshot, folder, "model=small_chinese", "prompt=chinese_cifar", labels)
    assert "few letters" not in printed
    assert "向日葵" in printed


def test_english_for_chinese_clip_is_scored_with_a_warning(zeroshot: Command, folder: Path) -> None:
    printed = predict(zeroshot, folder, "model=small_chinese", 'stage.labels=["cat","dog"]')
    for what in ("labels", "prompt templates"):
        assert f"few letters of the {what} are Chinese, and small_chinese reads Chinese" in printed
    assert "type prompt=chinese_cifar" in printed


def test_cifar_is_evaluated_with_chinese_names(zeroshot: Command, folder: Path, cifar: Path, tmp_path: Path) -> None:
    own = tmp_path / "names.csv"
    pairs = {f"fine_{id}": name for id, name in enumerate(["苹果", "观赏鱼", "婴儿", "熊", "河狸", "床"])}
    own.write_text("".join(f"{old},{new}\n" for old, new in pairs.items()), encoding="utf-8")
    given = ("--config-dir", str(folder), "device=cpu", f"dataset.root={cifar}", "prompt=chinese_cifar")
    done = zeroshot(*given, "model=small_chinese", f"dataset.class_names={own}", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    assert "few letters" not in done.stderr
    record = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert dict(record["dataset"]["class_mapping"]) == pairs
    own = tmp_path / "names.txt"
    own.write_text("苹果\n", encoding="utf-8")
    done = zeroshot(*given, "model=small_chinese", f"dataset.class_names={own}", "hydra.run.dir=out2")
    assert done.returncode == 1
    assert "give a file of two columns, folder,name" in done.stderr


@pytest.mark.parametrize(("name", "first"), [("cifar10", "airplane"), ("cifar100", "apple")])
def test_the_chinese_names_of_cifar_are_whole_and_distinct(name: str, first: str) -> None:
    file = Path(class_names.__file__).with_name(f"{name}_chinese.csv")
    pairs = class_names.pairs_or_none(file)
    assert pairs is not None
    assert next(iter(pairs)) == first
    assert len(set(pairs.values())) == len(pairs) == int(name.removeprefix("cifar"))
    assert not few_letters(list(pairs.values()), "CJK")


@pytest.mark.parametrize("size", [CHINESE_CLIP, SIGLIP], ids=["chinese_clip", "siglip"])
def test_every_naming_of_a_family_is_read(size: Architecture, tmp_path: Path) -> None:
    tensors = draw(size)
    for names in NAME_MAPS[size.family]:
        stored = {}
        for name, values in tensors.items():
            whole = values.T if name in names.transposed else values
            parts = names.shapes(name, values.shape)
            rows: Sequence[int] = (
                np.cumsum([shape[0] for shape in parts.values()])[:-1].tolist() if len(parts) > 1 else []
            )
            for (here, shape), part in zip(
                parts.items(), np.split(whole, rows) if len(parts) > 1 else [whole], strict=True
            ):
                stored[here] = np.ascontiguousarray(part).reshape(shape)
        save_file(stored, tmp_path / "model.safetensors")
        found = load(tmp_path, size)
        assert found.format == f"{names.name}-safetensors"
        assert all((found.tensors[name] == values).all() for name, values in tensors.items()), names.name


@pytest.mark.parametrize("size", [CHINESE_CLIP, SMALL_SIGLIP], ids=["chinese_clip", "siglip"])
def test_settings_are_read_from_the_config_beside_the_weights(size: Architecture, tmp_path: Path) -> None:
    siglip = size.family == "siglip"
    towers: dict[str, dict[str, Any]] = {
        "vision_config": {
            "hidden_size": size.vision_width, "num_hidden_layers": size.vision_layers, "patch_size": size.patch_size,
            "num_attention_heads": size.vision_heads,
        },
        "text_config": {"hidden_size": size.text_width, "num_attention_heads": size.text_heads},
    }  # fmt: skip
    side = {"height": size.image_size, "width": size.image_size}
    pixels = {"size": side, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "do_center_crop": not siglip}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(pixels), encoding="utf-8")
    save_file(draw(size), tmp_path / "model.safetensors")

    def found(**changes: object) -> Settings:
        towers["vision_config"] |= changes
        (tmp_path / "config.json").write_text(json.dumps({"model_type": size.family, **towers}), encoding="utf-8")
        return load(tmp_path, size).settings

    half = (0.5, 0.5, 0.5)
    assert found() == Settings("gelu_tanh" if siglip else "quick_gelu", half, half, "squash")
    for value, message in (
        ("relu", r"hidden_act is (relu|gelu_pytorch_tanh, but relu)"),
        ("gelu", "text_config.hidden_act"),
    ):
        if siglip or value == "relu":
            with pytest.raises(ZeroshotError, match=message):
                found(hidden_act=value)
        else:
            assert found(hidden_act=value).activation == "gelu"
    with pytest.raises(ZeroshotError, match=r"vision_config\.layer_norm_eps is 1e-12"):
        found(layer_norm_eps=1e-12)


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("other", KNOWN)
def test_weights_of_another_model_are_refused_with_its_name(name: str, other: str, tmp_path: Path) -> None:
    if name == other:
        return
    save_file(draw(KNOWN[other]), tmp_path / "a.safetensors")
    with pytest.raises(ZeroshotError, match=rf"its tensors are those of {other}: type model={other}"):
        load(tmp_path / "a.safetensors", KNOWN[name], KNOWN)


def test_siglip_without_a_tokenizer_or_with_another_one_ends_in_a_line(
    zeroshot: Command, folder: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "alone.safetensors"
    shutil.copyfile(folder / "siglip" / "model.safetensors", weights)
    model = ("--config-dir", str(folder), "model=small_siglip", f"model.weights.path={weights}", "device=cpu")
    given = (*model, "stage=predict", f"stage.images={folder}/0.png", "stage.labels=[cat,dog]")
    done = zeroshot(*given)
    assert done.returncode == 1
    assert "alone.safetensors: there is no tokenizer.json or spiece.model beside it" in done.stderr
    assert "Traceback" not in done.stderr
    tokenizer = json.loads(TOKENIZER.read_text(encoding="utf-8"))
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 1000, "content": "<more>"})
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    done = zeroshot(*given)
    assert done.returncode == 1
    assert "has 1001 tokens, where the weights have 1000: put the tokenizer of small_siglip there" in done.stderr


def test_another_tokenizer_is_another_model(
    zeroshot: Command, folder: Path, cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "siglip", tmp_path / "siglip")
    monkeypatch.setattr(stage, "_last", None)
    given = ("--config-dir", str(folder), "device=cpu", "model=small_siglip", f"model.weights.path={tmp_path}/siglip")
    done = zeroshot(*given, "stage=eval", f"dataset.root={cifar}", "prompt=plain", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "out")
    assert record is not None
    assert are_unchanged(record)
    file = tmp_path / "siglip" / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8"))), encoding="utf-8")
    assert not are_unchanged(record)
    config = checked(record["config"])
    first = stage.load_model(config.model, config.device)
    assert stage.load_model(config.model, config.device) is first
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")), indent=1), encoding="utf-8")
    assert stage.load_model(config.model, config.device) is not first


def test_a_tokenizer_beside_the_converted_file_is_never_replaced(
    zeroshot: Command, folder: Path, tmp_path: Path
) -> None:
    save_file(draw(SMALL_SIGLIP), tmp_path / "mine.bin.safetensors")
    shutil.copyfile(TOKENIZER, tmp_path / "mine.bin.tokenizer.json")
    (tmp_path / "other.tokenizer.json").write_text("{}")
    given = ("--config-dir", str(folder), "stage=convert", "model=small_siglip")
    own = f"model.weights.path={tmp_path}/mine.bin.safetensors"
    done = zeroshot(*given, own, "stage.output=other.safetensors")
    assert done.returncode == 1
    assert "other.tokenizer.json, where the tokenizer would be copied, exists" in done.stderr
    assert not (tmp_path / "other.safetensors").exists()
    os.link(tmp_path / "mine.bin.tokenizer.json", tmp_path / "third.tokenizer.json")
    done = zeroshot(*given, own, "stage.output=third.safetensors")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "third.tokenizer.json").read_bytes() == TOKENIZER.read_bytes()
