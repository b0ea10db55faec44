"""The same parts from Python: `pipeline`, `Trainer` and `load_model`, with MindFormers' names and protocol."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from zeroshot import run
from zeroshot.classifier import Classifier, Images, Scores, as_list, loaded
from zeroshot.config.choices import names
from zeroshot.config.schema import Config
from zeroshot.config.settings import DataChoice, ModelChoice, PromptChoice, data_set, settings
from zeroshot.config.validate import checked
from zeroshot.data.image_source import Source, load_image  # noqa: F401 - it is one of the names that we offer
from zeroshot.errors import ZeroshotError
from zeroshot.runs import folder as run_folder
from zeroshot.runs import record as run_record
from zeroshot.stages import predict
from zeroshot.stages.parts import load_data

if TYPE_CHECKING:
    from zeroshot.models.encoder import Encoder

TASK = "zero_shot_image_classification"
LOG = "zeroshot.log"

log = logging.getLogger(__name__)


def load_model(
    model: ModelChoice = "clip_vit_b_32",
    weights: str | Path | None = None,
    device: str = "auto",
    dtype: str | None = None,
    *,
    interpolation: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    config_dir: str | Path | None = None,
) -> "Encoder":
    """A CLIP, ready to encode.

    `encode_image` takes a list of PIL images, paths, URLs or uint8 arrays, or one uint8 array [N, H, W, 3], and
    `encode_text` a list of texts; both give float32 [N, embed_dim] of unit length. `logit_scale` is a float, already
    exponentiated: softmax(logit_scale * image @ text.T) are the probabilities.

    Args:
        model: the name of one of our models or of one in `config_dir`, or a mapping of the keys of `model:`.
        weights: a file or a folder of the user's own, instead of the model's download.
        device: "auto" (Ascend where there is one, else the CPU), "cpu", "ascend" or "gpu"; one a process.
        dtype: "float32", "float16" or "bfloat16"; None is float32 on a CPU and float16 elsewhere.
        interpolation: "bicubic" or "bilinear"; None is the model's own, bicubic for OpenAI's.
        batch_size: images that are encoded at once.
        workers: threads that read and resize images.
        config_dir: the user's own folder of models, as `--config-dir` of the command line.

    Raises:
        ZeroshotError: something of it can't be used; one line says what, and what to give instead.
    """
    wanted = settings(
        model,
        weights=weights,
        device=device,
        dtype=dtype,
        interpolation=interpolation,
        batch_size=batch_size,
        workers=workers,
        config_dir=config_dir,
    )
    return loaded(checked(wanted))[0]


def pipeline(
    task: str = TASK,
    model: ModelChoice = "clip_vit_b_32",
    *,
    candidate_labels: Sequence[str] | None = None,
    top_k: int | None = None,
    prompt: PromptChoice = "mindformers",
    weights: str | Path | None = None,
    device: str = "auto",
    dtype: str | None = None,
    interpolation: str | None = "bilinear",
    batch_size: int | None = None,
    workers: int | None = None,
    config_dir: str | Path | None = None,
) -> Classifier:
    """A classifier of images among labels, under MindFormers' protocol unless told otherwise.

    Args:
        task: "zero_shot_image_classification", the one there is.
        candidate_labels: the labels; a call may bring others.
        top_k: how many of the best labels to give; None is all.
        prompt: the name of a prompt set of ours or in `config_dir`, a path of its YAML, one template or several with
            `{}` where the label goes, or a mapping of `templates` and `class_names` ("raw" or "spaces").
        model, weights, device, dtype, interpolation, batch_size, workers, config_dir: as for `load_model`.

    Raises:
        ZeroshotError: something of it can't be used.
    """
    _check_task(task)
    wanted = settings(
        model,
        weights=weights,
        device=device,
        dtype=dtype,
        interpolation=interpolation,
        batch_size=batch_size,
        workers=workers,
        prompt=prompt,
        config_dir=config_dir,
    )
    return Classifier(wanted, candidate_labels, top_k, config_dir)


class Trainer:
    """Evaluates a model on a data set and predicts with it, under MindFormers' protocol unless told otherwise.

    Args:
        task: "zero_shot_image_classification", the one there is.
        eval_dataset: a folder (CIFAR in one of its layouts, or a folder per class), a CSV file of paths and labels, the
            name of a data set, or the name of its usual folder, such as "cifar-100-python".
        prompt, model, weights, device, dtype, interpolation, batch_size, workers, config_dir: as for `pipeline`.

    Raises:
        ZeroshotError: something of it can't be used.
    """

    def __init__(
        self,
        task: str = TASK,
        model: ModelChoice = "clip_vit_b_32",
        eval_dataset: DataChoice | None = None,
        *,
        prompt: PromptChoice = "mindformers",
        weights: str | Path | None = None,
        device: str = "auto",
        dtype: str | None = None,
        interpolation: str | None = "bilinear",
        batch_size: int | None = None,
        workers: int | None = None,
        config_dir: str | Path | None = None,
    ) -> None:
        _speak()
        _check_task(task)
        self._settings = settings(
            model,
            weights=weights,
            device=device,
            dtype=dtype,
            interpolation=interpolation,
            batch_size=batch_size,
            workers=workers,
            prompt=prompt,
            config_dir=config_dir,
        )
        self._config_dir = config_dir
        self._has_data = eval_dataset is not None
        if eval_dataset is not None:
            self._settings["dataset"] = data_set(eval_dataset, config_dir)
        self._config = checked(self._settings)
        self._classifier: Classifier | None = None
        self._classes: list[str] | None = None

    def evaluate(self, eval_dataset: DataChoice | None = None) -> run_record.Record:
        """Scores the data set, logs `Top1 Accuracy=…` and gives the record, which a run folder keeps.

        The folder is `outputs/<date>/<time>_<model>/`, as the command line's, below the current one.

        Raises:
            ZeroshotError: there is no data set, or something can't be read; the folder's record has the line too.
        """
        _speak()
        wanted = self._settings
        if eval_dataset is not None:
            wanted = wanted | {"dataset": data_set(eval_dataset, self._config_dir)}
        elif not self._has_data:
            raise ZeroshotError("there is nothing to evaluate on: give eval_dataset=, a folder or a data set's name")
        return _evaluated(checked(wanted))

    def predict(
        self, input_data: Images, candidate_labels: Sequence[str] | None = None, top_k: int | None = None
    ) -> list[Scores]:
        """What `pipeline` gives for these images; it is written to `./run_record.txt` too.

        Without `candidate_labels` the class names of the data set are taken.

        Raises:
            ZeroshotError: there are no labels and no data set, or an image can't be read.
        """
        _speak()
        if candidate_labels is None and not self._has_data:
            raise ZeroshotError("there are no labels: give candidate_labels=['cat', 'dog', …], or eval_dataset=")
        listed = as_list(input_data)
        labels = self._class_names() if candidate_labels is None else candidate_labels
        if self._classifier is None:
            self._classifier = Classifier(self._settings, config_dir=self._config_dir)
        made = self._classifier(listed, labels, top_k=top_k)
        paragraphs = (
            predict.paragraph({"image": _name(image, place), "scores": scores})
            for place, (image, scores) in enumerate(zip(listed, made, strict=True), start=1)
        )
        with run_folder.whole(Path(predict.TEXT), errors="backslashreplace") as file:
            file.writelines(f"{paragraph}\n" for paragraph in paragraphs)
        log.info("output result is saved at ./%s", predict.TEXT)
        return made

    def _class_names(self) -> list[str]:
        if self._classes is None:
            self._classes = list(load_data(self._config.dataset).classes)
        log.info("candidate_labels: the %d classes of %s", len(self._classes), self._config.dataset.name)
        return self._classes


def show_pipeline_support_model_list(task: str = TASK) -> list[str]:
    """Logs the models that `pipeline` knows by name, and gives them."""
    return _show("Pipeline", task)


def show_trainer_support_model_list(task: str = TASK) -> list[str]:
    """Logs the models that `Trainer` knows by name, and gives them."""
    return _show("Trainer", task)


def _show(what: str, task: str) -> list[str]:
    _check_task(task)
    _speak()
    known = names("model")
    log.info("%s support model list for %s task is:", what, TASK)
    log.info("   %s", known)
    return known


def _check_task(task: str) -> None:
    if task.replace("-", "_") != TASK:
        raise ZeroshotError(f"task={task} is not known here: give {TASK}")


def _evaluated(config: Config) -> run_record.Record:
    """The record of one run in a folder of its own, where it also stays if it fails."""
    plain: Any = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    record = run_record.start_record(plain, [])
    stamp = time.strftime("%Y-%m-%d/%H-%M-%S")
    folder = run_folder.claim(Path("outputs", f"{stamp}_{config.model.name}"))
    try:
        with _logged(folder):
            run.run(config, folder, record)
    except (Exception, KeyboardInterrupt) as error:
        line = str(error) if isinstance(error, ZeroshotError) else " ".join(f"{type(error).__name__}: {error}".split())
        run_record.write_record(folder, record | {"error": line})
        raise
    finally:
        run_folder.unlock(folder)
    return run_record.read_record(folder) or record


@contextmanager
def _logged(folder: Path) -> Iterator[None]:
    """Keeps what is logged in the run's folder."""
    handler = logging.FileHandler(folder / LOG, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("zeroshot")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def _name(image: Source, place: int) -> str:
    if isinstance(image, str | Path):
        return str(image)
    return str(getattr(image, "filename", "")) or f"image {place}"


class _Listener(logging.Handler):
    """Shows this package's lines where nobody has set up logging, as MindFormers showed its own."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            print(self.format(record), file=sys.stdout if record.levelno < logging.WARNING else sys.stderr)


def _speak() -> None:
    logger = logging.getLogger("zeroshot")
    if not any(isinstance(handler, _Listener) for handler in logger.handlers):
        logger.addHandler(_Listener())
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
