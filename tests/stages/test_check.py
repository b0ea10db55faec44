"""The check of a device: on this CPU, and with towers that compute something else."""

import logging

import numpy as np
import pytest

from tests.conftest import Command
from tests.in_process import share_encoders
from zeroshot.config.compose import compose
from zeroshot.config.schema import Config
from zeroshot.config.validate import checked
from zeroshot.errors import ZeroshotError
from zeroshot.models.encoder import Encoder
from zeroshot.stages import check


@pytest.fixture(autouse=True)
def _shared(monkeypatch: pytest.MonkeyPatch) -> None:
    share_encoders(monkeypatch)


def on_cpu() -> Config:
    return checked(compose({"model": "clip_tiny", "dataset": "shapes", "device": "cpu", "stage": "check"}, {}))


def test_this_cpu_passes_and_versions_device_and_speed_are_printed(zeroshot: Command) -> None:
    done = zeroshot("stage=check", "device=cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ok"
    for expected in ("MindSpore", "Python", "device CPU", "images/s", "tolerance 2e-05", "64 of 64 as expected"):
        assert expected in done.stdout


@pytest.mark.parametrize("amount", [1e-3, 0.5])
@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_wrong_tower_fails(
    tower: str, amount: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"encode_{tower}"
    right = getattr(Encoder, name)

    def wrong(self: Encoder, given: object) -> np.ndarray:
        features = right(self, given)
        features[1, 0] += amount
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    monkeypatch.setattr(Encoder, name, wrong)
    with caplog.at_level(logging.INFO), pytest.raises(ZeroshotError, match=f"failed: {tower} features differ by"):
        check.run(on_cpu())
    assert "ok" not in caplog.messages


def test_features_that_are_not_numbers_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "encode_text", lambda self, texts: np.full((len(texts), 64), np.nan, np.float32))
    with pytest.raises(ZeroshotError, match="failed: text features differ by nan"):
        check.run(on_cpu())


def test_an_absent_device_is_one_line(zeroshot: Command) -> None:
    done = zeroshot("stage=check", "device=ascend")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "no Ascend card or driver" in done.stderr


def test_the_tolerance_of_half_precision_is_wider_than_its_error() -> None:
    """The plain towers in float16 on this CPU replace an accelerator's arithmetic."""
    import mindspore as ms

    from zeroshot.config.named import architecture, known_models, preprocessing
    from zeroshot.data import shapes
    from zeroshot.models.checkpoints.load import load
    from zeroshot.models.towers import ImageTower
    from zeroshot.stages.weights import weights_path

    model = known_models()[check.MODEL]
    tensors = load(weights_path(model), architecture(model)).tensors
    with np.load(check.FEATURES) as expected:
        image = expected["image"]
    pixels = np.stack([np.asarray(each) for each in shapes.load(size=len(image)).images])
    tower = ImageTower(architecture(model), tensors, preprocessing(model), ms.float16)
    half = ms.jit(tower.construct)(ms.Tensor(pixels)).asnumpy()
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    error = np.abs(half - image).max()
    assert check.TOLERANCE["float32"] < error < check.TOLERANCE["float16"]
