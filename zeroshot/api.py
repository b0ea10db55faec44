"""From Python: `pipeline`, `Trainer` and `load_model`, with MindFormers' names and protocol."""

import logging
import time
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from zeroshot import run
from zeroshot.config.arguments import DataChoice, ModelChoice, PromptChoice, dataset_config, run_config
from zeroshot.config.named import names
from zeroshot.config.validate import checked
from zeroshot.data.image_source import Source, load_image  # noqa: F401 - one of the public names
from zeroshot.errors import ZeroshotError
from zeroshot.runs.folder import PREDICTION_TEXT, claim, release
from zeroshot.runs.log import log_file, log_to_terminal
from zeroshot.runs.prediction_files import write_prediction_text
from zeroshot.runs.record import Record
from zeroshot.scoring.classifier import Images, Scores, as_list
from zeroshot.scoring.labels import check_distinct
from zeroshot.stages.dataset import load_dataset
from zeroshot.stages.encoder import load_new_model
from zeroshot.stages.pipeline import Pipeline

if TYPE_CHECKING:
    from zeroshot.devices.pool import EncoderPool
    from zeroshot.models.encoder import Encoder

TASK = "zero_shot_image_classification"

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
    device_count: int | str | None = None,
    device_cluster: str | None = None,
    config_dir: str | Path | None = None,
) -> "Encoder | EncoderPool":
    """A model, ready to encode.

    `encode_image` takes a list of PIL images, paths, URLs or uint8 arrays, or one uint8 array [N, H, W, 3], and
    `encode_text` a list of texts; both return float32 [N, embed_dim] of unit length. `logit_scale` is a float, already
    exponentiated: softmax(logit_scale * image @ text.T) are the probabilities, or, where `logit_bias` is not None,
    sigmoid(logit_scale * image @ text.T + logit_bias), of each text for itself.

    Args:
        model: the name of a model in `conf/model/` or in `config_dir`, or a mapping of the keys of `model:`.
        weights: a file or a folder of your own, or hf:ORG/NAME or ms:ORG/NAME, instead of the model's download.
        device: "auto" (Ascend where there is one, else the CPU), "cpu", "ascend" or "gpu"; a process can use only one.
        dtype: "float32", "float16" or "bfloat16"; None is float32 on a CPU and float16 elsewhere.
        interpolation: "bicubic" or "bilinear"; None is the model's own, bicubic for OpenAI's.
        batch_size: images that are encoded at once; None is the device's default.
        workers: threads that read and resize images.
        device_count: how many devices encode, or "all"; None is one. More than one through Ray.
        device_cluster: "auto" or the address of a running Ray cluster; None is this machine.
        config_dir: a folder with models of your own, as `--config-dir` of the command line.

    Raises:
        ZeroshotError: an argument can't be used; one line says which, and what to give instead.
    """
    settings = (weights, dtype, interpolation, batch_size, workers, device_count, device_cluster)
    built = checked(run_config(model, None, config_dir, device, *settings))
    return load_new_model(built.model, built.device).encoder


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
    device_count: int | str | None = None,
    device_cluster: str | None = None,
    config_dir: str | Path | None = None,
) -> "Pipeline":
    """A classifier of images among labels, by default under MindFormers' protocol.

    Args:
        task: "zero_shot_image_classification", the only one.
        candidate_labels: the labels; a call may give others.
        top_k: how many of the best labels to return; None is all.
        prompt: the name of a prompt set in `conf/prompt/` or `config_dir`, the path of its YAML file, one template or
            several with `{}` where the label goes, or a mapping of `templates` and `class_names` ("raw" or "spaces").
        The others are those of `load_model`.

    Raises:
        ZeroshotError: an argument can't be used.
    """
    _check_task(task)
    settings = (weights, dtype, interpolation, batch_size, workers, device_count, device_cluster)
    return Pipeline(run_config(model, prompt, config_dir, device, *settings), candidate_labels, top_k, config_dir)


class Trainer:
    """Evaluates a model on a data set and predicts with it, by default under MindFormers' protocol.

    Args:
        task: "zero_shot_image_classification", the only one.
        eval_dataset: a folder (CIFAR in one of its layouts, or a folder per class), a CSV file of paths and labels, the
            name of a data set, or the name of its usual folder, such as "cifar-100-python".
        The others are those of `pipeline`.

    Raises:
        ZeroshotError: an argument can't be used.
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
        device_count: int | str | None = None,
        device_cluster: str | None = None,
        config_dir: str | Path | None = None,
    ) -> None:
        log_to_terminal()
        _check_task(task)
        given, parameters = locals(), signature(Trainer).parameters
        self._given = {key: given[key] for key, each in parameters.items() if given[key] != each.default}
        settings = (weights, dtype, interpolation, batch_size, workers, device_count, device_cluster)
        self._config = run_config(model, prompt, config_dir, device, *settings)
        self._config_dir = config_dir
        self._dataset = eval_dataset
        if eval_dataset is not None:
            self._config["dataset"] = dataset_config(eval_dataset, config_dir)
        self._checked = checked(self._config)
        self._pipeline: Pipeline | None = None
        self._classes: list[str] | None = None

    def evaluate(self, eval_dataset: DataChoice | None = None) -> Record:
        """Scores the data set, logs `Top1 Accuracy=…` and returns the record.

        It leaves what the command line leaves: the folder `outputs/<date>/<time>_<model>/` below the current one with
        record, result files, page and log, and a line in `outputs/index.csv`.

        Raises:
            ZeroshotError: there is no data set, or something can't be read; the record in the folder has the line too.
        """
        log_to_terminal()
        dataset = self._dataset if eval_dataset is None else eval_dataset
        if dataset is None:
            raise ZeroshotError("there is nothing to evaluate on: give eval_dataset=, a folder or a data set's name")
        config = self._config
        if eval_dataset is not None:
            config = config | {"dataset": dataset_config(eval_dataset, self._config_dir)}
        name = checked(config).model.name
        request = run.Request(config, [], {"python": self._code(dataset)})
        folder = claim(Path("outputs", f"{time.strftime('%Y-%m-%d/%H-%M-%S')}_{name}"))
        try:
            with log_file(folder):
                return run.run_in_folder(request, folder)
        finally:
            release(folder)

    def predict(
        self, input_data: Images, candidate_labels: Sequence[str] | None = None, top_k: int | None = None
    ) -> list[Scores]:
        """Returns what `pipeline` returns for these images, and writes it to `./results.txt`.

        Without `candidate_labels` the class names of the data set are the labels.

        Raises:
            ZeroshotError: there are no labels and no data set, or an image can't be read.
        """
        log_to_terminal()
        if candidate_labels is None and self._dataset is None:
            raise ZeroshotError("there are no labels: give candidate_labels=['cat', 'dog', …], or eval_dataset=")
        images = as_list(input_data)
        class_names = self._class_names() if candidate_labels is None else []  # before a model is loaded
        if self._pipeline is None:
            self._pipeline = Pipeline(self._config, config_dir=self._config_dir)
        if candidate_labels is None:
            predictions = self._pipeline.classify(images, class_names, self._pipeline.prompt, top_k)
        else:
            predictions = self._pipeline(images, candidate_labels, top_k=top_k)
        pairs = enumerate(zip(images, predictions, strict=True), start=1)
        named = [{"image": _name(image, number), "scores": scores} for number, (image, scores) in pairs]
        try:
            write_prediction_text(Path(PREDICTION_TEXT), named)
            log.info("output result is saved at ./%s", PREDICTION_TEXT)
        except OSError as error:
            log.warning("./%s can't be written (%s)", PREDICTION_TEXT, error.strerror or error)
        return predictions

    def _class_names(self) -> list[str]:
        if self._classes is None:
            data = load_dataset(self._checked.dataset)
            duplicates = check_distinct(
                data.classes, self._checked.prompt.class_names.value, data.name, data.known_duplicates
            )
            for line in duplicates:
                log.warning("%s: %s", data.name, line)
            self._classes = list(data.classes)
        log.info("candidate_labels: the %d classes of %s", len(self._classes), self._checked.dataset.name)
        return self._classes

    def _code(self, dataset: DataChoice) -> str:
        """The Python code that repeats an evaluation."""
        given = self._given | {"eval_dataset": dataset}
        texts = {key: str(each) if isinstance(each, Path) else each for key, each in given.items()}
        arguments = ", ".join(f"{key}={each!r}" for key, each in texts.items())
        return f"from zeroshot import Trainer\n\nTrainer({arguments}).evaluate()\n"


def show_pipeline_support_model_list(task: str = TASK) -> list[str]:
    """Logs the models that `pipeline` knows by name, and returns them."""
    return _show_models("Pipeline", task)


def show_trainer_support_model_list(task: str = TASK) -> list[str]:
    """Logs the models that `Trainer` knows by name, and returns them."""
    return _show_models("Trainer", task)


def _show_models(what: str, task: str) -> list[str]:
    _check_task(task)
    log_to_terminal()
    known = names("model")
    log.info("%s support model list for %s task is:\n   %s", what, TASK, known)
    return known


def _check_task(task: str) -> None:
    if task.replace("-", "_") != TASK:
        raise ZeroshotError(f"task={task} is unknown: give {TASK}")


def _name(image: Source, number: int) -> str:
    if isinstance(image, str | Path):
        return str(image)
    return str(getattr(image, "filename", "")) or f"image {number}"
