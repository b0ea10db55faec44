"""The one command that tells whether a device computes what it should: on this CPU, and with a tower that is wrong."""

import logging

import numpy as np
import pytest

from tests.conftest import Command
from zeroshot.config.schema import Device, Target
from zeroshot.errors import ZeroshotError
from zeroshot.models.encoder import Encoder
from zeroshot.stages import check


def test_this_cpu_is_ok_and_versions_device_and_speed_are_told(zeroshot: Command) -> None:
    done = zeroshot("stage=check", "device=cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ok"
    for told in ("MindSpore", "Python", "device CPU", "images/s", "bound 2e-05", "64 of 64 as expected"):
        assert told in done.stdout


@pytest.mark.parametrize("amount", [1e-3, 0.5])
@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_wrong_tower_is_told(
    tower: str, amount: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = f"encode_{tower}"
    right = getattr(Encoder, name)

    def wrong(self: Encoder, given: object) -> np.ndarray:
        features = right(self, given)
        features[1, 0] += amount
        return features / np.linalg.norm(features, axis=1, keepdims=True)

    monkeypatch.setattr(Encoder, name, wrong)
    with caplog.at_level(logging.INFO), pytest.raises(ZeroshotError, match=f"not ok: {tower} features differ by"):
        check.run(Device(target=Target.CPU))
    assert "ok" not in caplog.messages


def test_features_that_are_no_numbers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "encode_text", lambda self, texts: np.full((len(texts), 64), np.nan, np.float32))
    with pytest.raises(ZeroshotError, match="not ok: text features differ by nan"):
        check.run(Device(target=Target.CPU))


def test_an_absent_device_is_told_as_such(zeroshot: Command) -> None:
    done = zeroshot("stage=check", "device=ascend")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "no Ascend card or driver" in done.stderr


def test_the_bounds_of_half_precision_are_wider_than_what_it_is_off() -> None:
    """The plain form in float16 on this CPU stands for an accelerator's arithmetic."""
    import mindspore as ms
    from zeroshot.models.forms import PLAIN

    from zeroshot.config.named import architecture, known_models
    from zeroshot.config.paths import expand_path
    from zeroshot.data import shapes
    from zeroshot.models.checkpoints import load as checkpoint_load
    from zeroshot.models.towers import ImageTower

    model = known_models()[check.MODEL]
    tensors = checkpoint_load.load(expand_path(str(model.weights.url)), architecture(model)).tensors
    with np.load(check.features_path()) as expected:
        image = expected["image"]
    pixels = np.stack([np.asarray(each) for each in shapes.load(size=len(image)).images])
    tower = ms.jit(ImageTower(architecture(model), tensors, ms.float16, PLAIN).construct)
    half = tower(ms.Tensor(pixels)).asnumpy()
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    off = np.abs(half - image).max()
    assert check.BOUNDS["float32"] < off < check.BOUNDS["float16"]
