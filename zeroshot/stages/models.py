"""`stage=models`: the models of `conf/model/` in a table, with their licences and whether their weights are here."""

import logging
import math

from zeroshot.config.named import architecture, known_models
from zeroshot.config.schema import Config, Model
from zeroshot.runs import terminal
from zeroshot.runs.record import published
from zeroshot.runs.terminal import Column
from zeroshot.stages.weights import local_weights

COLUMNS = [
    Column("model", right=False),
    Column("image", drop_priority=4),
    Column("patch", drop_priority=5),
    Column("vision", drop_priority=6),
    Column("text", drop_priority=7),
    Column("million weights", drop_priority=3),
    Column("activation", right=False, drop_priority=2),
    Column("CIFAR-100"),
    Column("ImageNet"),
    Column("weights", right=False),
    Column("licence", right=False, long=True),
]
NOTE = (
    "CIFAR-100 and ImageNet: the highest top-1 in percent that others published under any protocol; none was measured "
    "here. «here»: the weights are on this machine; model=NAME fetches others."
)

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Logs the table."""
    lines = [_line(name, model) for name, model in known_models().items()]
    colours = [""] * len(lines) if terminal.coloured() else ()
    log.info(terminal.draw(COLUMNS, lines, colours, terminal.width_of_stdout()).rstrip("\n"))
    log.info(NOTE)


def _line(name: str, model: Model) -> list[str]:
    sizes = architecture(model)
    weights = sum(math.prod(shape) for shape in sizes.shapes().values())
    return [
        name,
        str(sizes.image_size),
        str(sizes.patch_size),
        f"{sizes.vision_layers} × {sizes.vision_width}",
        f"{sizes.text_layers} × {sizes.text_width}",
        f"{weights / 1e6:.1f}",
        model.activation.value,
        _highest(name, "cifar100"),
        _highest(name, "imagenet"),
        "here" if local_weights(model) else "–",
        model.weights.licence or "–",
    ]


def _highest(name: str, dataset: str) -> str:
    """The highest published top-1 of a model on a data set."""
    found = [entry["top1"][name] for entry in published() if entry["dataset"] == dataset and name in entry["top1"]]
    return f"{max(found):.2f}" if found else "–"
