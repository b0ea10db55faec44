"""Zero-shot image classification with CLIP, SigLIP and Chinese-CLIP on MindSpore."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zeroshot.api import (
        Trainer,
        load_model,
        pipeline,
        show_pipeline_support_model_list,
        show_trainer_support_model_list,
    )
    from zeroshot.data.image_source import load_image

__version__ = "0.1.0"

__all__ = [
    "Trainer",
    "load_image",
    "load_model",
    "pipeline",
    "show_pipeline_support_model_list",
    "show_trainer_support_model_list",
]

os.environ.setdefault("GLOG_v", "3")  # MindSpore reads it when it is first imported; it warns a lot otherwise


def __getattr__(name: str) -> Any:
    if name in __all__:  # only now, so that importing the package is quick
        from zeroshot import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
