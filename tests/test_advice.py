"""What an error tells the user to type works when it is typed: every «type …» of the package is tried."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.config.test_config import composed
from tests.conftest import ROOT
from tests.data.cifar_files import write_cifar100_python
from tests.drawn import SMALL, draw
from zeroshot.config.overrides import check_overrides
from zeroshot.config.schema import Convert
from zeroshot.errors import ZeroshotError, override
from zeroshot.models.checkpoints.save import save
from zeroshot.models.checkpoints.settings import Settings
from zeroshot.stages.dataset import load_dataset
from zeroshot.stages.weights import load_weights

SIZES = {f"model.{name}": size for name, size in vars(SMALL).items()}


def attempt(overrides: list[str]) -> None:
    """What the command does before it computes anything."""
    check_overrides(overrides)
    config = composed(*overrides)
    if any(each.startswith("dataset.root=") for each in overrides):
        load_dataset(config.dataset)
    if any(each.startswith("model.weights.path=") for each in overrides):
        load_weights(config.model)
    assert not isinstance(config.stage, Convert)


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)


def folders(*names: str) -> Callable[[Path], list[str]]:
    """A data set with an image in each of these folders, in a folder whose name needs quoting."""

    def make(root: Path) -> list[str]:
        for name in names:
            picture(root / "my photos" / name / "a.png")
        return ["dataset=image_folder", f'dataset.root="{root}/my photos"']

    return make


def cifar(root: Path) -> list[str]:
    write_cifar100_python(root / "data (1)" / "cifar-100-python")
    return [f'dataset.root="{root}/data (1)"']


def gelu(root: Path) -> list[str]:
    save(draw(SMALL), root / "small.safetensors", settings=Settings("gelu", (0.5, 0.25, 0.125), None, "squash"))
    sizes = [f"{name}={size}" for name, size in SIZES.items()]
    return [*sizes, f"model.weights.path={root}/small.safetensors"]


def plain(*overrides: str) -> Callable[[Path], list[str]]:
    return lambda root: list(overrides)


PREDICT = ("stage=predict", "stage.images=a.png")
CASES: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "grammar": (plain("prompt.templates=a photo of a {}"), "type {quoted("),
    "quotes": (plain(*PREDICT, "stage.labels=[bird's nest, dog]"), "type {quoted("),
    "URL": (plain("stage=predict", "stage.labels=[cat,dog]", "stage.images=https://a/b?x=1&y=2"), "type {quoted("),
    "comma": (plain(*PREDICT, "stage.labels=cat,dog"), "type {key}='[{value}]'"),
    "one folder down": (folders("data/cat", "data/dog"), "type {inner}"),
    "split": (folders("val/cat", "val/dog"), "type dataset.split={splits[0]}"),
    "classes beside a split": (folders("test/cat", "test/dog", "dog"), "type dataset.split={WHOLE}"),
    "two splits": (folders("val/cat", "train/cat", "dog"), "type dataset.split={WHOLE}"),
    "CIFAR one folder down": (cifar, "type {override("),
    "settings": (gelu, "type {keys}"),
    "score": (plain("model=clip_vit_b_32", "model.score=sigmoid"), "type model.score=softmax"),
}
# placeholders that the user fills, and advice of a device, a full disk or a hub, which other tests reach
ELSEWHERE = (
    "type {key}=VALUE",
    "type KEY=VALUE or GROUP=NAME",
    "type hf:ORG/NAME",
    "type model.weights.path=FOLDER",
    "type model={named}",
    "type model={nearest}",
    "type stage.cache=false",
    "type device=cpu",
    "type device=ascend",
    "type 'git lfs pull'",
)


@pytest.mark.parametrize("name", CASES)
def test_advice_works_when_it_is_typed(name: str, tmp_path: Path) -> None:
    overrides = CASES[name][0](tmp_path)
    with pytest.raises(ZeroshotError) as first:
        attempt(overrides)
    message = str(first.value)
    advice = re.search(r"[:;] type (.+?)(?: if all are classes.*| for a list.*)?$", message)
    assert advice is not None, message
    advised = shlex.split(advice[1])
    keys = {each.partition("=")[0] for each in advised}
    attempt([*(each for each in overrides if each.partition("=")[0] not in keys), *advised])


def test_every_advice_of_the_package_has_a_case() -> None:
    tried = [advice for _, advice in CASES.values()]
    for path in sorted((ROOT / "zeroshot").rglob("*.py")):
        source = re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))  # texts that go on in the next line
        for found in re.finditer(r"(?:[:;,]|or|and) (type [^ ]*[={:'])", source):
            rest = source[found.start(1) :]
            assert any(rest.startswith(each) for each in (*tried, *ELSEWHERE)), f"{path}: {rest[:80]}"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))
@example("true")
@example("a b'c\"d\\e $(x) `y` !z {} [1,2] 向日葵")
def test_an_override_is_read_back_as_its_value_from_a_shell(value: str) -> None:
    words = shlex.split(override("dataset.root", value))
    assert len(words) == 1
    check_overrides(words)
    assert OverridesParser.create().parse_override(words[0]).value() == value
