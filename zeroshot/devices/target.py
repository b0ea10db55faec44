"""The device that the network runs on: chosen, set once a process, and a clear error where it is absent."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeroshot.errors import ZeroshotError

DTYPES = {"CPU": "float32", "Ascend": "float16", "GPU": "float16"}  # what dtype=auto means

DEVICES = Path("/dev")  # Ascend cards are in it as davinci0, davinci1, …
NVIDIA_DRIVER = Path("/proc/driver/nvidia")


@dataclass(frozen=True)
class Device:
    """A device that MindSpore was set to, and the type that the network computes in there."""

    target: str
    id: int
    dtype: str


_in_use: Device | None = None


def prepare(target: str = "auto", id: int = 0, dtype: str = "auto") -> Device:
    """Sets MindSpore to a device; one a process, since MindSpore can't leave a device once it is used.

    Args:
        target: "auto" (Ascend where there is one, else the CPU), "CPU", "Ascend" or "GPU".
        id: which card, from 0.
        dtype: "auto" (float32 on a CPU, else float16), "float32", "float16" or "bfloat16".

    Raises:
        ZeroshotError: the device is absent, another one is in use, or it does not compute in `dtype`.
    """
    global _in_use
    if target == "auto":
        target = "Ascend" if _ascend_cards() else "CPU"
    dtype = DTYPES[target] if dtype == "auto" else dtype
    if target == "CPU" and dtype != "float32":
        raise ZeroshotError(f"device.dtype={dtype} does not run on a CPU: leave it at auto, or type device=ascend")
    device = Device(target, 0 if target == "CPU" else id, dtype)
    if _in_use is not None and (_in_use.target, _in_use.id) != (device.target, device.id):
        raise ZeroshotError(
            f"device.target={target} device.id={device.id}: this process already runs on {_in_use.target} "
            f"{_in_use.id}; start another one for another device"
        )
    if _in_use is None:
        missing = _missing(target)
        if missing:
            raise ZeroshotError(f"device.target={target} is not usable here: {missing}; or type device=cpu")
        _set(_mindspore(), target, device.id)
    _in_use = device
    return device


def _mindspore() -> Any:
    import mindspore

    return mindspore


def _set(mindspore: Any, target: str, id: int) -> None:
    """The calls that MindSpore gets for each target, and the line when it refuses."""
    try:
        if target == "CPU":
            mindspore.set_device("CPU")
        else:
            mindspore.set_device(target, id)
    except (RuntimeError, ValueError) as error:
        # MindSpore 2.7 refuses to set even the device that this process already computes on
        if (mindspore.get_context("device_target"), mindspore.get_context("device_id")) == (target, id):
            return
        reason = str(error).strip().split("\n")[0]
        raise ZeroshotError(
            f"device.target={target} device.id={id}: MindSpore {mindspore.__version__} refuses it ({reason}); "
            "compare its version with the installed driver's at mindspore.cn/install, or type device=cpu"
        ) from error


def _missing(target: str) -> str | None:
    """What a target needs and this machine lacks, with what to do; None where all of it is there."""
    if target == "Ascend":
        if not _ascend_cards():
            return (
                "no Ascend card or driver (no /dev/davinci*): install the driver, or pass the card into this container"
            )
        toolkit = [os.environ.get(name) for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")]
        if not any(path and Path(path).is_dir() for path in toolkit):
            return "CANN is not set up (ASCEND_HOME_PATH is unset): install it and source its set_env.sh"
        if not _plugin("libmindspore_ascend"):
            return "this MindSpore is built without Ascend: install the wheel for this system from mindspore.cn/install"
    if target == "GPU":
        if not NVIDIA_DRIVER.exists():
            return "no NVIDIA driver (no /proc/driver/nvidia): install it"
        if not _plugin("libmindspore_gpu"):
            return "this MindSpore is built without CUDA: install a build with it from mindspore.cn/install"
    return None


def _ascend_cards() -> list[Path]:
    return list(DEVICES.glob("davinci[0-9]*"))


def _plugin(name: str) -> bool:
    folder = Path(_mindspore().__file__).parent / "lib" / "plugin"
    return any(folder.glob(f"{name}*"))
