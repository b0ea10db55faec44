"""Every choice that `conf/` offers composes into a checked config, and a mistake is one line that names its key."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import Field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from zeroshot.config.compose import compose as compose_for_python
from zeroshot.config.compose import register
from zeroshot.config.explain import explain
from zeroshot.config.named import architecture, known_models, prompt_templates
from zeroshot.config.paths import source_folder
from zeroshot.config.schema import DATASETS, STAGES, Config, Device, Family, Model, Prompt
from zeroshot.config.validate import checked, resolved
from zeroshot.errors import ZeroshotError

GROUPS = ("model", "dataset", "prompt", "device", "stage")
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((source_folder("conf") / group).glob("*.yaml"))]
EXPERIMENTS = [path.stem for path in sorted(source_folder("experiments").glob("*.yaml"))]
NEEDED = {
    "image_folder": ["dataset.root=photos"],
    "csv": ["dataset.root=photos.csv"],
    "predict": ["stage.images=photos", "stage.labels=[cat,dog]"],
    "convert": ["stage.output=small.safetensors"],
}


def composed_plain(*overrides: str) -> dict[str, Any]:
    GlobalHydra.instance().clear()
    register()
    with initialize_config_dir(str(source_folder("conf")), version_base="1.3"):
        try:
            return resolved(compose("config", list(overrides)))
        except (HydraException, OmegaConfBaseException) as error:
            raise ZeroshotError(explain(error)) from error


def composed(*overrides: str) -> Config:
    return checked(composed_plain(*overrides))


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_option_of_every_group_composes(group: str, name: str) -> None:
    config = composed(f"{group}={name}", *NEEDED.get(name, []))
    if group in ("model", "dataset", "prompt", "stage"):
        own_data = {"image_folder": "photos", "csv": "photos.csv"}
        assert getattr(config, group).name == own_data.get(name, name)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_begins_with_its_command(name: str) -> None:
    composed(f"experiment={name}")
    text = (source_folder("experiments") / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# @package _global_\n")
    assert f"python -m zeroshot experiment={name}" in text


def test_groups_and_their_options_are_found() -> None:
    assert {group for group, _ in OPTIONS} == set(GROUPS)
    assert EXPERIMENTS


def test_the_model_with_336_pixels_needs_no_quoting() -> None:
    assert composed("model=clip_vit_l_14@336").model.image_size == 336


def test_the_defaults_are_those_of_the_help_page() -> None:
    config = composed()
    chosen = (config.model.name, config.dataset.name, config.prompt.name, config.stage.name)
    assert chosen == ("clip_vit_b_32", "cifar100", "openai_cifar", "eval")
    assert config.model.interpolation.value == "bicubic"


@pytest.mark.parametrize(("name", "count"), [("openai_cifar", 18), ("openai_imagenet", 80), ("openai_imagenet_7", 7)])
def test_the_prompt_sets_have_their_number_of_templates(name: str, count: int) -> None:
    templates = prompt_templates(name)
    assert len(set(templates)) == len(templates) == count
    assert all(template.count("{}") == 1 for template in templates)


def test_the_seven_templates_are_among_the_eighty() -> None:
    assert set(prompt_templates("openai_imagenet_7")) < set(prompt_templates("openai_imagenet"))


def test_the_cifar_templates_are_nine_with_a_and_the_same_nine_with_the() -> None:
    templates = prompt_templates("openai_cifar")
    for first, second in zip(templates[:9], templates[9:], strict=True):
        assert second in (
            first.replace(" a {}", " the {}"),
            first.replace(" a small", " the small").replace(" a big", " the big"),
        )


def test_a_model_yaml_is_short_and_its_sizes_fit_one_another() -> None:
    for path in (source_folder("conf") / "model").glob("*.yaml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len([line for line in lines if not line.startswith("    ")]) < 21, path  # without its addresses
    for name, model in known_models().items():
        name_of_last = "head.weight" if model.family is Family.siglip else "text_projection"
        assert set(architecture(model).shapes()[name_of_last]) == {model.text_width, model.embed_dim}, name


@pytest.mark.parametrize("name", ["clip_vit_b_32", "clip_vit_b_16", "clip_vit_l_14", "clip_vit_l_14@336"])
def test_openais_weights_come_from_a_pinned_revision_of_the_hub_and_from_other_hosts(name: str) -> None:
    first, *others = known_models()[name].weights.sources
    assert re.fullmatch("https://huggingface.co/openai/[a-z0-9-]+/resolve/[0-9a-f]{40}/pytorch_model.bin", first.url)
    assert all(len(source.sha256 or "") == 64 for source in (first, *others))
    assert {urlsplit(source.url).hostname for source in others} - {"huggingface.co"}


def test_cifar100_is_one_archive_at_two_hosts() -> None:
    sources = composed_plain("dataset=cifar100")["dataset"]["sources"]
    assert len({urlsplit(source["url"]).hostname for source in sources}) == 2
    assert len({source["sha256"] for source in sources}) == 1


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("dataset.limit=abc", "dataset.limit: Value 'abc' of type 'str' could not be converted to Integer"),
        ("dataset.limit=0", "dataset.limit=0 can't be used"),
        ("dataset.split=validation", "dataset.split: Invalid value 'validation'"),
        ("device.batch_size=0", "device.batch_size=0 can't be used"),
        ("model.image_size=225", "model.image_size=225 can't be used: it must be a multiple of model.patch_size=32"),
        ("model.text_width=100", "model.text_width=100 can't be used: it must be a multiple of 64"),
        ("prompt.templates=[]", "prompt.templates=[] can't be used"),
        ("stage=predict stage.labels=[cat]", "stage.images: give a file, a folder, a glob"),
        ("stage=predict stage.images=x", "give the candidate labels with stage.labels"),
        (
            "stage=predict stage.images=x stage.labels=[cat,1e3]",
            "stage.labels=1000.0 can't be used: it is not text: quote it",
        ),
        (
            "stage=predict stage.images=x stage.labels=[true]",
            "stage.labels=True can't be used: it is not text: quote it",
        ),
        ("stage=predict stage.images=x stage.labels=[cat] stage.top_k=0", "stage.top_k=0 can't be used"),
        ("stage=convert", "stage.output has no value: type stage.output=VALUE"),
        ("dataset.kind=folder", "dataset.kind=folder is not one of cifar"),
        ("device.id=-1", "device.id=-1 can't be used: give 0 or more"),
        ("model.std=[1,1,0]", "model.std=[1.0, 1.0, 0.0] can't be used"),
        ("model.mean=[1,1]", "model.mean=[1.0, 1.0] can't be used"),
        ("model.vision_heads=7", "model.vision_width=768 can't be used: it must be a multiple of model.vision_heads=7"),
        ("stage.topk=3", "stage.topk is not a key: did you mean stage.top_k?"),
        ("device=cuda", "device=cuda does not exist: did you mean device=gpu?"),
        ("model=clip_vit_b32", "did you mean model=clip_vit_b_32?"),
        ("stage.labels=cat,dog", "stage.labels=cat,dog has a comma: type stage.labels='[cat,dog]'"),
        ("model=clip_tiny,clip_vit_b_32", "model=clip_tiny,clip_vit_b_32 has a comma: add -m to run a job for each"),
        ("model.image_size=big", "model.image_size: Value 'big'"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_key(override: str, expected: str) -> None:
    with pytest.raises(ZeroshotError) as caught:
        composed(*override.split())
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_data_set_without_its_root_says_how_to_give_it() -> None:
    with pytest.raises(ZeroshotError, match=r"^dataset\.root has no value: type dataset\.root=VALUE$"):
        composed("dataset=image_folder")


@pytest.mark.parametrize(
    ("root", "name"),
    [
        ("my/photos", "photos"),
        ("photos/", "photos"),
        ("imagenet/val", "imagenet/val"),
        ("a/b/Test", "b/Test"),
        ("a/b/..", "a"),
        ("/", "/"),
    ],
)
def test_a_data_set_of_ones_own_has_the_name_of_its_folder(root: str, name: str) -> None:
    assert composed("dataset=image_folder", f"dataset.root={root}").dataset.name == name


def test_a_data_set_that_has_a_name_keeps_it() -> None:
    assert composed("dataset=image_folder", "dataset.root=a", "dataset.name=birds").dataset.name == "birds"
    assert composed("dataset.root=elsewhere").dataset.name == "cifar100"


@pytest.mark.parametrize(
    ("templates", "name"),
    [('["a photo of a {}."]', "photo"), ('["the {}"]', "the {}"), ('["a {}","the {}"]', "a {} and 1 more")],
)
def test_changed_templates_do_not_have_the_name_of_the_set(templates: str, name: str) -> None:
    assert composed("prompt=photo", f"prompt.templates={templates}").prompt.name == name


def test_another_spelling_of_class_names_is_in_the_name_too() -> None:
    assert composed("prompt=photo", "prompt.class_names=raw").prompt.name == "photo, class names raw"
    assert composed("prompt=mindformers", "prompt.class_names=raw").prompt.name == "mindformers"


@pytest.mark.parametrize(
    ("family", "override", "said"),
    [
        ("clip_vit_b_32", "model.context_length=78", "clip reads 77 at most"),
        ("clip_vit_b_32", "model.vocabulary=1000", "the tokenizer of clip has 49408"),
        ("chinese_clip_vit_b_16", "model.context_length=513", "chinese_clip reads 512 at most"),
        ("chinese_clip_vit_b_16", "model.vocabulary=49408", "the tokenizer of chinese_clip has 21128"),
    ],
)
def test_a_text_tower_that_its_tokenizer_does_not_fit_is_refused(family: str, override: str, said: str) -> None:
    with pytest.raises(ZeroshotError, match=said):
        composed(f"model={family}", override)


@pytest.mark.parametrize("base", ["clip_vit_b_32", "laion2b_vit_l_14"])
def test_a_model_of_ones_own_inherits_from_a_named_one(base: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    own = f"defaults: [{base}, _self_]\nname: mine\nactivation: gelu\nweights: {{path: mine.safetensors}}\n"
    (tmp_path / "model" / "mine.yaml").write_text(own, encoding="utf-8")
    choices = {"model": "mine", "dataset": "shapes", "stage": "eval"}
    mine, theirs = checked(compose_for_python(choices, {}, tmp_path)).model, known_models()[base]
    assert (mine.name, mine.activation.value, mine.weights.path) == ("mine", "gelu", "mine.safetensors")
    assert architecture(mine) == architecture(theirs)
    assert (mine.mean, mine.std) == (theirs.mean, theirs.std)


@pytest.mark.parametrize("name", sorted(known_models()))
def test_models_read_without_hydra_are_those_that_hydra_composes(name: str) -> None:
    assert known_models()[name] == composed(f"model={name}").model


def test_interpolation_in_the_users_text_is_kept_as_text() -> None:
    config = composed(r"prompt.templates=['${oc.env:HOME} {}', '${nope} {}']")
    assert config.prompt.templates == ["${oc.env:HOME} {}", "${nope} {}"]


def test_zeroshot_home_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZEROSHOT_HOME", str(tmp_path))
    assert composed().dataset.root == str(tmp_path / "data" / "cifar-100-python")


@pytest.mark.parametrize("typed", ["stage.labels=cat", "stage.labels=5", "stage.images=5", "stage.images={a: b}"])
def test_labels_and_images_must_be_lists(typed: str) -> None:
    with pytest.raises(ZeroshotError, match=r"^stage\.(labels|images)=.* can't be used: give a list, stage"):
        composed("stage=predict", "stage.images=photos", typed)


VALUES = ["a text", 1.5, True, [[1]], {"an_unknown_key": {"of": "a mapping"}}]


def choices_and_fields() -> list[Any]:
    found = [
        pytest.param([], group, field, id=f"{group}.{field.name}")
        for group, schema in TYPED
        for field in fields(schema)
    ]
    for kind, schema in DATASETS.items():
        choice = {"cifar": "cifar100"}.get(kind, kind)
        chosen = [f"dataset={choice}", *NEEDED.get(choice, [])]
        found += [pytest.param(chosen, "dataset", field, id=f"{kind}.{field.name}") for field in fields(schema)]
    for name, schema in STAGES.items():
        chosen = [f"stage={name}", *NEEDED.get(name, [])]
        found += [pytest.param(chosen, "stage", field, id=f"{name}.{field.name}") for field in fields(schema)]
    return found


@contextmanager
def suppress_error() -> Iterator[list[str]]:
    """The message of the ZeroshotError that ends the block, if one does."""
    messages: list[str] = []
    try:
        yield messages
    except ZeroshotError as error:
        messages.append(str(error))


TYPED = (("model", Model), ("prompt", Prompt), ("device", Device))


@pytest.mark.parametrize(("chosen", "group", "field"), choices_and_fields())
def test_a_value_of_another_type_is_one_line_that_names_the_key(
    chosen: list[str], group: str, field: "Field[Any]"
) -> None:
    messages = []
    composed_config = composed_plain(*chosen)
    for value in VALUES:
        config = copy.deepcopy(composed_config)
        config[group][field.name] = value
        with suppress_error() as message:
            checked(config)
        messages += message
    assert len(messages) >= 2  # no key takes a nested list or a mapping of unknown keys
    assert all(f"{group}.{field.name}" in message and "\n" not in message for message in messages)
