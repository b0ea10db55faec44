"""The calls that MindSpore gets for each target, noted by a stand-in, and what is said of an absent device."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zeroshot.devices import target as device
from zeroshot.errors import ZeroshotError


class FakeMindSpore:
    """Notes its calls; refuses a device if summary to."""

    __version__ = "0.0"

    def __init__(self, folder: Path, refusal: str | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.__file__ = str(folder / "__init__.py")
        self.refusal = refusal
        self.context: dict[str, object] = {}
        self.communication = SimpleNamespace(init=lambda: self.calls.append(("init",)))

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> object:
            if name == "get_context":
                return self.context.get(arguments[0])
            self.calls.append((name, *arguments))
            if self.refusal:
                raise RuntimeError(self.refusal)
            return None

        return call


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A machine that has every device, until a test takes something away."""
    fake = FakeMindSpore(tmp_path)
    plugins = tmp_path / "lib" / "plugin"
    plugins.mkdir(parents=True)
    (plugins / "libmindspore_ascend.so.2").touch()
    (plugins / "libmindspore_gpu.so.12").touch()
    toolkit = tmp_path / "toolkit"
    toolkit.mkdir()
    monkeypatch.setenv("ASCEND_HOME_PATH", str(toolkit))
    monkeypatch.delenv("ASCEND_TOOLKIT_HOME", raising=False)
    monkeypatch.setattr(device, "_in_use", None)
    monkeypatch.setattr(device, "_mindspore", lambda: fake)
    cards = tmp_path / "dev"
    cards.mkdir()
    (cards / "davinci0").touch()
    monkeypatch.setattr(device, "DEVICES", cards)
    driver = tmp_path / "nvidia"
    driver.touch()
    monkeypatch.setattr(device, "NVIDIA_DRIVER", driver)
    return SimpleNamespace(fake=fake, cards=cards, plugins=plugins, toolkit=toolkit, driver=driver)


@pytest.mark.parametrize(
    ("target", "calls", "dtype"),
    [
        ("CPU", [("set_device", "CPU")], "float32"),
        ("Ascend", [("set_device", "Ascend", 3)], "float16"),
        ("GPU", [("set_device", "GPU", 3)], "float16"),
        ("auto", [("set_device", "Ascend", 3)], "float16"),
    ],
)
def test_each_target_makes_these_calls_in_this_order(
    machine: SimpleNamespace, target: str, calls: list[tuple[Any, ...]], dtype: str
) -> None:
    assert device.prepare(target, 3).dtype == dtype
    assert machine.fake.calls == calls
    device.prepare(target, 3)
    assert machine.fake.calls == calls  # a second run of the same process sets nothing again


def test_auto_is_the_cpu_where_there_is_no_card(machine: SimpleNamespace) -> None:
    (machine.cards / "davinci0").unlink()
    assert device.prepare("auto").target == "CPU"
    assert machine.fake.calls == [("set_device", "CPU")]


def test_a_missing_card_a_missing_toolkit_and_a_build_without_it_are_told_apart(machine: SimpleNamespace) -> None:
    (machine.plugins / "libmindspore_ascend.so.2").unlink()
    with pytest.raises(ZeroshotError, match="Ascend is not usable here: this MindSpore is built without Ascend"):
        device.prepare("Ascend")
    machine.toolkit.rmdir()
    with pytest.raises(ZeroshotError, match=r"CANN is not set up.*set_env\.sh"):
        device.prepare("Ascend")
    (machine.cards / "davinci0").unlink()
    with pytest.raises(ZeroshotError, match=r"no Ascend card or driver.*device=cpu"):
        device.prepare("Ascend")
    assert machine.fake.calls == []


def test_a_gpu_needs_its_driver_and_a_build_with_cuda(machine: SimpleNamespace) -> None:
    (machine.plugins / "libmindspore_gpu.so.12").unlink()
    with pytest.raises(ZeroshotError, match="built without CUDA"):
        device.prepare("GPU")
    machine.driver.unlink()
    with pytest.raises(ZeroshotError, match="no NVIDIA driver"):
        device.prepare("GPU")
    assert machine.fake.calls == []


def test_what_mindspore_refuses_becomes_one_line(machine: SimpleNamespace) -> None:
    machine.fake.refusal = "no such device\nC++ call stack\n…"
    with pytest.raises(ZeroshotError, match=r"device\.id=9: MindSpore 0\.0 refuses it \(no such device\)") as caught:
        device.prepare("Ascend", 9)
    assert "\n" not in str(caught.value)


def test_a_device_that_the_process_computes_on_already_is_fine(machine: SimpleNamespace) -> None:
    machine.fake.refusal = "The runtime has been initialized"
    machine.fake.context = {"device_target": "Ascend", "device_id": 1}
    assert device.prepare("Ascend", 1).target == "Ascend"
    with pytest.raises(ZeroshotError, match="has been initialized"):
        device._set(machine.fake, "Ascend", 2)


def test_another_device_in_the_same_process_is_refused(machine: SimpleNamespace) -> None:
    device.prepare("CPU")
    with pytest.raises(ZeroshotError, match="already runs on CPU 0"):
        device.prepare("Ascend", 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_on_a_cpu_is_refused(machine: SimpleNamespace, dtype: str) -> None:
    with pytest.raises(ZeroshotError, match=f"device.dtype={dtype} does not run on a CPU"):
        device.prepare("CPU", dtype=dtype)


def test_this_machine_s_own_cpu_is_usable() -> None:
    assert device.prepare("CPU").target == "CPU"
