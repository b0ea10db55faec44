"""`pipeline`, `Trainer` and `load_model`: their results are those of the encoder and of the command line."""

import json
import logging
import os
import pickle
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image

import zeroshot
from tests.conftest import ROOT, Command
from tests.data.cifar_files import FINE, write_cifar10_python
from tests.drawn import SMALL, draw
from tests.in_process import share_encoders
from zeroshot import Trainer, load_image, load_model, pipeline
from zeroshot.config.arguments import dataset_config, prompt_config, run_config
from zeroshot.errors import ZeroshotError
from zeroshot.models.encoder import Encoder
from zeroshot.models.preprocess import Preprocessing
from zeroshot.runs.folder import holds
from zeroshot.stages.pipeline import Pipeline

LABELS = ["cat", "向日葵", "bird's nest", "a, b", "1e3", "fire_truck"]


@pytest.fixture(scope="module", autouse=True)
def _shared() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        share_encoders(patch)
        yield


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """The small model under MindFormers' protocol."""
    return Encoder(SMALL, draw(SMALL), Preprocessing(SMALL.image_size, "bilinear"), batch_size=8)


@pytest.fixture(scope="module")
def classifier(config_dir: Path, _shared: None) -> Pipeline:
    return pipeline(model="small", candidate_labels=LABELS, config_dir=config_dir, batch_size=8)


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (11, 40, 50, 3), np.uint8)


def expected(encoder: Encoder, pictures: NDArray[np.uint8], texts: list[str]) -> NDArray[np.float64]:
    logits = encoder.logit_scale * (encoder.encode_image(pictures) @ encoder.encode_text(texts).T).astype(np.float64)
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def test_the_scores_are_those_of_mindformers_protocol(
    classifier: Pipeline, encoder: Encoder, pictures: NDArray[np.uint8]
) -> None:
    found = classifier(pictures)
    probabilities = expected(encoder, pictures, [f"a picture of {label}" for label in LABELS])
    assert len(found) == len(pictures)
    for scores, row in zip(found, probabilities, strict=True):
        assert [each["label"] for each in scores] == [LABELS[place] for place in np.argsort(-row)]
        assert [each["score"] for each in scores] == pytest.approx(sorted(row, reverse=True), abs=1e-5)
        assert list(scores[0]) == ["score", "label"]
        assert sum(each["score"] for each in scores) == pytest.approx(1)


def test_an_image_may_come_in_any_form_alone_or_in_a_list(
    classifier: Pipeline, pictures: NDArray[np.uint8], tmp_path: Path, server: str
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(pictures[0]).save(path)
    first = classifier(pictures)[0]
    forms = [pictures[0], Image.fromarray(pictures[0]), path, str(path)]
    for form in [*forms, forms, iter(forms)]:
        found = classifier(form)
        assert len(found) == (1 if any(form is each for each in forms) else 4)
        for scores in found:
            assert [each["label"] for each in scores] == [each["label"] for each in first]
            assert [each["score"] for each in scores] == pytest.approx([each["score"] for each in first], abs=1e-5)
    url = f"{server}/good"
    assert classifier(url) == classifier(load_image(url))
    assert classifier([]) == []


def test_a_call_may_have_its_own_labels_top_k_and_prompt(
    classifier: Pipeline, encoder: Encoder, pictures: NDArray[np.uint8]
) -> None:
    found = classifier(pictures[:3], ["dog_house", "tree"], top_k=1, prompt=["a {}", "the {} of a {}"])
    texts = encoder.encode_text(["a dog_house", "the dog_house of a dog_house", "a tree", "the tree of a tree"])
    means = texts.reshape(2, 2, -1).mean(axis=1)
    best = (encoder.encode_image(pictures[:3]) @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).argmax(1)
    assert [scores[0]["label"] for scores in found] == [["dog_house", "tree"][place] for place in best]
    assert [len(scores) for scores in found] == [1, 1, 1]
    assert len(classifier(pictures[0])[0]) == len(LABELS)


def test_text_features_are_computed_once_for_a_label_set(
    classifier: Pipeline, pictures: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[list[str]] = []
    encode = Encoder.encode_text

    def counted(self: Encoder, texts: list[str], *more: Any) -> NDArray[np.float32]:
        encoded.append(list(texts))
        return encode(self, texts, *more)

    monkeypatch.setattr(Encoder, "encode_text", counted)
    for _ in range(3):
        classifier(pictures[:2], ["one", "two"])
        classifier(pictures[2], ["two", "one"])
        classifier(pictures[2], ["two", "one"], prompt="plain")
    assert encoded == [
        ["a picture of one", "a picture of two"],
        ["a picture of two", "a picture of one"],
        ["two", "one"],
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"candidate_labels": []}, "candidate_labels has no label"),
        ({"candidate_labels": "cat,dog"}, "candidate_labels is of type str"),
        ({"candidate_labels": ["cat", 1e3]}, "of type float"),
        ({"candidate_labels": ["cat", "cat"]}, "0 «cat» and 1 «cat» are equal"),
        ({"top_k": 0}, "top_k=0"),
        ({"prompt": "no such set"}, "prompt=no such set does not exist; choose one of chinese_cifar, mindformers, "),
        ({"prompt": ["a photo"]}, "«a photo» has no {}"),
        ({"prompt": {"templates": ["{}"], "class_names": "spacious"}}, "prompt.class_names"),
    ],
)
def test_an_argument_of_a_call_that_cannot_be_used_is_refused(
    classifier: Pipeline, pictures: NDArray[np.uint8], given: dict[str, object], message: str
) -> None:
    with pytest.raises(ZeroshotError) as caught:
        classifier(pictures[0], **given)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_an_unreadable_image_is_named(classifier: Pipeline, pictures: NDArray[np.uint8]) -> None:
    with pytest.raises(ZeroshotError, match=r"nowhere\.png: there is no such file"):
        classifier([pictures[0], "nowhere.png"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "image_classification"}, "task=image_classification"),
        ({"model": "clip_vit_b_33"}, "model=clip_vit_b_33 does not exist: did you mean model=clip_vit_b_32?"),
        ({"model": {"embed_dim": 64}}, "model."),
        ({"model": {"embed_dim": "wide"}}, "model.embed_dim"),
        ({"model": {"widths": 64}}, "widths"),
        ({"device": "tpu"}, "device=tpu does not exist"),
        ({"dtype": "float64"}, "device.dtype"),
        ({"interpolation": "nearest"}, "model.interpolation"),
        ({"config_dir": "nowhere"}, "config_dir=nowhere is not a folder"),
        ({"batch_size": 0}, "device.batch_size=0"),
        ({"weights": "nowhere.ckpt"}, "nowhere.ckpt"),
    ],
)
def test_an_argument_of_a_pipeline_that_cannot_be_used_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ZeroshotError) as caught:
        pipeline(**given)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_a_model_is_a_name_in_a_folder_or_a_mapping(small_weights: Path, config_dir: Path) -> None:
    texts = ["cat", "dog"]
    by_name = load_model("small", config_dir=config_dir)
    by_keys = load_model(asdict(SMALL), weights=small_weights)
    in_keys = load_model({**asdict(SMALL), "weights": {"path": str(small_weights)}}, device="CPU", dtype="float32")
    assert by_name.encode_text(texts).tolist() == by_keys.encode_text(texts).tolist()
    assert by_name.encode_text(texts).tolist() == in_keys.encode_text(texts).tolist()


def test_a_loaded_model_encodes_to_unit_vectors(config_dir: Path, pictures: NDArray[np.uint8]) -> None:
    clip = load_model("small", config_dir=config_dir, batch_size=8)
    images, texts = clip.encode_image(pictures), clip.encode_text(["cat", "dog", "cat"])
    assert images.shape == (len(pictures), SMALL.embed_dim)
    assert texts.shape == (3, SMALL.embed_dim)
    for features in (images, texts):
        assert features.dtype == np.float32
        assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-6)
    listed = [Image.fromarray(each) for each in pictures]
    assert clip.encode_image(listed).tolist() == images.tolist()
    assert clip.logit_scale == pytest.approx(float(np.exp(draw(SMALL)["logit_scale"])))
    for wrong in (pictures[0], listed[0], "a.png"):
        with pytest.raises(ZeroshotError, match="takes a list of images"):
            clip.encode_image(wrong)  # type: ignore[arg-type]
    with pytest.raises(ZeroshotError, match="takes several texts"):
        clip.encode_text("cat")


def test_evaluate_leaves_what_the_command_line_leaves(
    small: Command,
    config_dir: Path,
    cifar: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = small("model=small", "prompt=mindformers", "model.interpolation=bilinear", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZEROSHOT_HOME", str(tmp_path / "home"))
    trainer = Trainer(model="small", eval_dataset=cifar, config_dir=config_dir, device="cpu", batch_size=8)
    with caplog.at_level(logging.INFO, logger="zeroshot"):
        record = trainer.evaluate()
    theirs = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    for key in ("schema", "stage", "config", "config_digest", "model", "dataset", "prompt", "device", "metrics"):
        assert record[key] == theirs[key], key
    assert f"Top1 Accuracy={record['metrics']['top1']:.2%}" in caplog.messages
    [folder] = (tmp_path / "outputs").glob("*/*")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d_small", str(folder.relative_to(tmp_path / "outputs")))
    assert json.loads((folder / "result.json").read_text(encoding="utf-8")) == record
    assert {path.name for path in folder.iterdir()} == {path.name for path in (tmp_path / "out").iterdir()} - {".hydra"}
    assert "Top1 Accuracy=" in (folder / "zeroshot.log").read_text(encoding="utf-8")
    for name in ("predictions.csv", "per_class.csv", "confusion.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_an_evaluation_that_fails_leaves_its_record(
    config_dir: Path, cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = Trainer(model="small", eval_dataset=cifar, config_dir=config_dir, weights="nowhere.ckpt")
    with pytest.raises(ZeroshotError, match=r"nowhere\.ckpt"):
        trainer.evaluate()
    [folder] = (tmp_path / "outputs").glob("*/*")
    left = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert "nowhere.ckpt" in left["error"]
    assert "metrics" not in left
    assert {path.name for path in folder.iterdir()} == {"result.json", "report.html"}


def test_a_trainer_predicts_among_its_classes_and_writes_results(
    config_dir: Path,
    cifar: Path,
    pictures: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = Trainer(model="small", eval_dataset=cifar, config_dir=config_dir, batch_size=8)
    with caplog.at_level(logging.INFO, logger="zeroshot"):
        predicted = trainer.predict(input_data=Image.fromarray(pictures[0]), top_k=3)
    assert len(predicted) == 1
    assert len(predicted[0]) == 3
    assert {each["label"] for each in predicted[0]} <= set(FINE)
    assert "candidate_labels: the 6 classes of cifar100" in caplog.messages
    assert "output result is saved at ./results.txt" in caplog.messages
    lines = (tmp_path / "results.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "image 1"
    assert [line.split()[1] for line in lines[1:]] == [each["label"] for each in predicted[0]]
    assert not (tmp_path / "outputs").exists()
    two = trainer.predict([pictures[0], pictures[1]], candidate_labels=LABELS)
    assert [len(scores) for scores in two] == [len(LABELS)] * 2


def test_a_trainer_without_data_says_what_to_give(config_dir: Path, pictures: NDArray[np.uint8]) -> None:
    trainer = Trainer(model="small", config_dir=config_dir)
    with pytest.raises(ZeroshotError, match="give candidate_labels="):
        trainer.predict(pictures[0])
    with pytest.raises(ZeroshotError, match="give eval_dataset="):
        trainer.evaluate()


def test_a_data_set_is_a_folder_or_a_name(cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSHOT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert dataset_config(cifar)["name"] == "cifar100"
    assert dataset_config(cifar)["root"] == str(cifar)
    assert dataset_config(write_cifar10_python(tmp_path / "ten"))["name"] == "cifar10"
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    assert dataset_config("photos") == {**dataset_config("photos"), "kind": "image_folder", "root": "photos"}
    (tmp_path / "list.csv").touch()
    assert dataset_config("list.csv")["kind"] == "csv"
    assert dataset_config("shapes")["kind"] == "shapes"
    usual = str(tmp_path / "home" / "data" / "cifar-100-python")
    assert dataset_config("cifar-100-python") == dataset_config("cifar100")
    assert dataset_config("cifar-100-python")["root"] == usual
    (tmp_path / "cifar-100-python").symlink_to(cifar)
    assert dataset_config("cifar-100-python")["root"] == "cifar-100-python"
    with pytest.raises(ZeroshotError, match="eval_dataset=imagenet is not a folder or CSV file here, nor one of"):
        dataset_config("imagenet")


def test_prompts_are_a_name_a_template_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompt").mkdir()
    own = {"name": "mine", "class_names": "spaces", "templates": ["my {}", "${my} {}"]}
    path = tmp_path / "prompt" / "mine.yaml"
    OmegaConf.save(own, path)
    assert prompt_config("mine", tmp_path) == prompt_config(str(path)) == own
    assert prompt_config("mindformers") == {
        "name": "mindformers",
        "class_names": "raw",
        "templates": ["a picture of {}"],
    }
    assert prompt_config("{}!")["templates"] == prompt_config(["{}!"])["templates"] == ["{}!"]
    assert prompt_config({"templates": ["{}"], "class_names": "spaces"})["class_names"] == "spaces"
    path.write_text("[a", encoding="utf-8")
    with pytest.raises(ZeroshotError, match=r"read as YAML.*mine\.yaml"):
        prompt_config("mine", tmp_path)


def test_a_choice_in_a_users_folder_may_inherit_from_conf(tmp_path: Path, config_dir: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text(
        "defaults: [image_folder, _self_]\nname: mine\nroot: ${zeroshot_home:}/mine\n", encoding="utf-8"
    )
    mine = dataset_config("mine", tmp_path)
    assert (mine["kind"], mine["name"], mine["split"]) == ("image_folder", "mine", "test")
    assert mine["root"].endswith("/mine")
    (tmp_path / "dataset" / "shapes.yaml").touch()
    with pytest.raises(ZeroshotError, match="is also in conf/"):
        dataset_config("shapes", tmp_path)


def test_importing_the_package_loads_next_to_nothing() -> None:
    heavy = {"mindspore", "hydra", "numpy", "omegaconf", "PIL", "requests"}
    code = f"import sys, zeroshot; sys.exit(bool({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    code = "import sys; from zeroshot import *; sys.exit(bool({'mindspore', 'hydra'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    assert set(zeroshot.__all__) <= set(dir(zeroshot))
    with pytest.raises(AttributeError, match="has no attribute 'train'"):
        _ = zeroshot.train


def snippets() -> list[str]:
    """The README's Python, a block each."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_snippets_of_the_readme_run(
    tmp_path: Path, config_dir: Path, small_weights: Path, cifar: Path, pictures: NDArray[np.uint8]
) -> None:
    assert len(snippets()) == 2
    Image.fromarray(pictures[0]).save(tmp_path / "sunflower.png")
    (tmp_path / "cifar-100-python").symlink_to(cifar)
    (tmp_path / "ViT-B-32.pt").symlink_to(small_weights)
    for snippet, message in zip(snippets(), ("[[{'score': ", "output result is saved at ./results.txt"), strict=True):
        assert snippet.count('model="clip_vit_b_32"') == 1
        own = snippet.replace('model="clip_vit_b_32"', f'model="small", config_dir={str(config_dir)!r}')
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZEROSHOT_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [sys.executable, "-c", own], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert message in done.stdout
        assert "support model list for zero_shot_image_classification task is:" in done.stdout
        assert "'clip_vit_b_32', 'clip_vit_l_14', 'clip_vit_l_14@336'" in done.stdout
    assert re.search(r"Top1 Accuracy=\d+\.\d\d%", done.stdout)


def test_the_embedded_model_works_in_pipeline_and_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZEROSHOT_HOME", str(tmp_path / "home"))
    pictures = sorted((ROOT / "zeroshot" / "data" / "pictures").glob("*.png"))
    names = [picture.stem.replace("_", " ") for picture in pictures]
    classifier = pipeline(
        "zero_shot_image_classification", model="clip_tiny", candidate_labels=[*names, "pink square", "black arrow"]
    )
    assert [scores[0]["label"] for scores in classifier(pictures)] == names

    trainer = Trainer("zero_shot_image_classification", model="clip_tiny", eval_dataset="shapes")
    record = trainer.evaluate()
    assert record["metrics"]["top1"] > 0.85
    assert record["prompt"]["templates"] == ["a picture of {}"]
    best = trainer.predict(input_data=load_image(pictures[0]), top_k=3)
    assert len(best[0]) == 3
    assert best[0][0]["label"] == names[0]
    assert (tmp_path / "results.txt").is_file()


def test_a_pickled_pipeline_answers_the_same(classifier: Pipeline, pictures: NDArray[np.uint8]) -> None:
    again = pickle.loads(pickle.dumps(classifier))  # noqa: S301 - our own
    for scores, others in zip(classifier(pictures[:2]), again(pictures[:2]), strict=True):
        assert [each["label"] for each in scores] == [each["label"] for each in others]
        assert [each["score"] for each in scores] == pytest.approx([each["score"] for each in others], abs=1e-6)


def test_threads_that_share_a_pipeline_get_their_own_answers(classifier: Pipeline, pictures: NDArray[np.uint8]) -> None:
    label_sets = [["cat", "dog"], ["sun", "moon", "star"], LABELS]
    expected_scores = {
        (place, number): classifier(pictures[place], label_set)
        for place in range(4)
        for number, label_set in enumerate(label_sets)
    }

    def call(thread: int) -> list[str]:
        numbers, wrong = random.Random(thread), []
        for _ in range(40):
            place, number = numbers.randrange(4), numbers.randrange(3)
            (found,), (right,) = classifier(pictures[place], label_sets[number]), expected_scores[place, number]
            same = [each["label"] for each in found] == [each["label"] for each in right]
            if not same or max(abs(a["score"] - b["score"]) for a, b in zip(found, right, strict=True)) > 1e-6:
                wrong.append(f"thread {thread}, image {place}, labels {number}")
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert [wrong for each in pool.map(call, range(8)) for wrong in each] == []


def test_the_callers_own_mapping_is_not_changed_and_may_hold_a_path(small_weights: Path) -> None:
    own = {**asdict(SMALL), "weights": {"path": small_weights}}
    settings = ("cpu", "other.pt", None, None, None, None)
    assert run_config(own, None, None, *settings)["model"]["weights"]["path"] == "other.pt"
    assert own["weights"] == {"path": small_weights}
    assert run_config(own, None, None, "cpu", None, None, None, None, None)["model"]["weights"]["path"] == str(
        small_weights
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"device": 0}, "device=0: give one of ascend, auto, cpu, gpu"),
        ({"model": "5"}, "model=5 does not exist"),
        ({"model": None}, "model=None: give the name of a model"),
        ({"prompt": 5}, "prompt=5: give the name of a prompt set"),
        ({"prompt": Path("nowhere.yaml")}, "nowhere.yaml can't be read"),
        ({"candidate_labels": np.array("cat")}, "candidate_labels is of type ndarray"),
        ({"candidate_labels": ["t_shirt", "t shirt"], "prompt": "photo"}, "0 «t_shirt» and 1 «t shirt» are equal"),
    ],
)
def test_an_argument_of_another_type_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ZeroshotError, match=re.escape(said)):
        pipeline(**{"model": "clip_tiny", **given})


def test_labels_with_the_same_tokens_are_refused(pictures: NDArray[np.uint8]) -> None:
    classifier = pipeline(model="clip_tiny", candidate_labels=["blue’s circle", "blue's circle"], device="cpu")
    with pytest.raises(ZeroshotError, match="have the same tokens"):
        classifier(pictures[0])


def test_an_interrupt_before_the_run_leaves_no_lock(
    cifar: Path, config_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    trainer = Trainer(model="small", eval_dataset=cifar, config_dir=config_dir)
    monkeypatch.setattr("zeroshot.api.log_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.evaluate()
    [folder] = (tmp_path / "outputs").glob("*/*")
    assert not holds(folder)


def test_predictions_are_returned_where_results_cannot_be_written(
    config_dir: Path,
    pictures: NDArray[np.uint8],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.txt").mkdir()
    predicted = Trainer(model="small", config_dir=config_dir).predict(pictures[0], candidate_labels=LABELS)
    assert len(predicted[0]) == len(LABELS)
    assert "./results.txt can't be written" in caplog.text


def test_a_trainer_predicts_among_classes_of_which_two_are_known_to_be_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for wnid in ("n03773504", "n04008634", "n01440764"):  # missile, missile, tench
        (tmp_path / "set" / wnid).mkdir(parents=True)
        Image.new("RGB", (8, 8), "teal").save(tmp_path / "set" / wnid / "a.png")
    (tmp_path / "own" / "dataset").mkdir(parents=True)
    own = "defaults: [image_folder, _self_]\nname: mine\nclass_names: package:data/imagenet_classes.txt\nroot: set\n"
    (tmp_path / "own" / "dataset" / "mine.yaml").write_text(own)
    trainer = Trainer(model="clip_tiny", eval_dataset="mine", config_dir=tmp_path / "own", device="cpu")
    predicted = trainer.predict(tmp_path / "set" / "n01440764" / "a.png")
    assert sorted(each["label"] for each in predicted[0]) == ["missile", "missile", "tench"]
    assert "have equal texts: only the first can be predicted" in caplog.text


def test_a_data_set_that_cannot_be_read_is_refused_before_a_model_is_loaded(
    tmp_path: Path, pictures: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set" / "cat").mkdir(parents=True)
    monkeypatch.setattr("zeroshot.api.Pipeline", lambda *_, **__: pytest.fail("a model was loaded"))
    trainer = Trainer(model="clip_tiny", eval_dataset=tmp_path / "set", device="cpu")
    with pytest.raises(ZeroshotError, match=r"dataset\.root needs a folder per class"):
        trainer.predict(pictures[0])
