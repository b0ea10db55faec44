"""One run: its parts made from a config, then the work of its stage, then its record."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zeroshot import ranks, report
from zeroshot.config.named import prompt_templates
from zeroshot.config.paths import PACKAGE, expand_path
from zeroshot.config.schema import Cifar, Config
from zeroshot.data.image_set import ImageSet
from zeroshot.errors import ZeroshotError
from zeroshot.features.extract import ImageFeatures
from zeroshot.models.checkpoints import checkpoint as weights
from zeroshot.runs import compare as comparison
from zeroshot.runs import evaluation_files
from zeroshot.runs import folder as run_folder
from zeroshot.runs import history as index
from zeroshot.runs import record as run_record
from zeroshot.runs.record import Record
from zeroshot.scoring.class_embeddings import mean_of_templates
from zeroshot.scoring.metrics import TOP, Metrics, measure
from zeroshot.scoring.prompts import fill_templates
from zeroshot.scoring.ranking import Ranking, rank
from zeroshot.stages import check, predict
from zeroshot.stages.parts import (
    Ready,
    cifar_root,
    class_groups,
    embed,
    feature_store,
    load_data,
    load_weights,
    progress,
    ready,
    warn_of_untrained_words,
    weights_path,
)

log = logging.getLogger(__name__)


def run(config: Config, folder: Path | None, record: Record) -> None:
    """Does what the config's stage says, in a folder that is this run's alone, and completes its record there.

    Stages that leave no folder take None, and so do ranks over 0, which compute their part and write nothing.

    Raises:
        ZeroshotError: something of the input can't be used; what was computed before is written.
    """
    name = config.stage.name
    if name in STAGES:
        STAGES[name](config, folder, record)
    elif ranks.rank() == 0 or name in STAGES_OF_EACH_RANK:
        FOLDERLESS_STAGES[name](config)


def _evaluate(config: Config, folder: Path | None, record: Record) -> None:
    """Scores a data set and writes the predictions, the counts and the record."""
    started = time.perf_counter()
    data = load_data(config.dataset)
    prompt = described_prompt(config)
    texts = fill_templates(data.classes, prompt["templates"], prompt["class_names"])
    images = data.limited(config.dataset.limit)
    made = ready(config.model, config.device)
    warn_of_untrained_words(config.model, made.checkpoint, texts)
    ranks.agree(_about(made, texts) | {"data set": data.fingerprint, "number of images": len(images)})

    text_started = time.perf_counter()
    embeddings = mean_of_templates(made.encoder.encode_text(texts, ranks.part, ranks.gathered), len(data.classes))
    image_started = time.perf_counter()
    features = _image_features(config, made)
    shown = partial(progress, what=f"{config.model.name} on {config.dataset.name}")
    mine = ranks.part(len(images), made.encoder.batch_size)
    batches = features.batches(images.images[mine.start : mine.stop], shown)
    ranking = _gathered(rank(batches, embeddings, made.encoder.logit_scale, TOP), min(TOP, len(data.classes)))
    encoded, stored = _counts(features)
    ended = time.perf_counter()
    if folder is None:
        return

    metrics = _measured(images, ranking)
    groups = {name: _measured_part(images, ranking, ids) for name, ids in class_groups(config.dataset, data).items()}
    dataset = {
        "name": data.name,
        "split": data.split,
        "labels": data.label_kind,
        "fingerprint": data.fingerprint,
        "size": len(images),
        "classes": len(data.classes),
    }
    whole_test = data.split == "test" and len(images) == len(data)
    references = (
        run_record.references(made.model, dataset, prompt, metrics.top1, prompt_templates) if whole_test else []
    )
    timing = _timing((started, text_started, image_started, ended), encoded, stored, texts)
    evaluation_files.write_evaluation(folder, images, ranking)
    record |= {"model": made.model, "dataset": dataset, "prompt": prompt, "device": made.device}
    record["metrics"] = vars(metrics)
    if groups:
        record["groups"] = groups
    run_record.write_record(folder, record | {"references": references, "timing": timing})
    for line in summary(len(images), metrics, groups, references):
        log.info(line)
    log.info("record: %s", folder / run_folder.RECORD)
    if page := report.draw_run(folder, images.images):
        log.info("page: %s", page)
    if str(config.model.weights.url).startswith(PACKAGE) and config.model.weights.path is None:
        log.info("next, with OpenAI's weights: python -m zeroshot model=clip_vit_b_32 dataset=cifar100")


def _predict(config: Config, folder: Path | None, record: Record) -> None:
    """Ranks the labels for each image; one that can't be read is told in its line, and how many at the end."""
    started = time.perf_counter()
    stage, prompt = config.stage, described_prompt(config)
    labels = predict.candidate_labels(
        stage.labels, None if stage.labels_file is None else expand_path(stage.labels_file)
    )
    found = predict.find(stage.images) if ranks.rank() == 0 else []
    texts = fill_templates(labels, prompt["templates"], prompt["class_names"])
    if predict.few_latin_letters(labels):
        log.warning(predict.FEW_LATIN)
    made = ready(config.model, config.device)
    warn_of_untrained_words(config.model, made.checkpoint, texts)
    ranks.agree(_about(made, texts))
    images = ranks.shared(found)
    text_started = time.perf_counter()
    embeddings = embed(made.encoder, texts, len(labels))
    image_started = time.perf_counter()
    errors: dict[int, str] = {}
    features = _image_features(config, made)
    mine = ranks.part(len(images), made.encoder.batch_size)
    batches = features.batches(images[mine.start : mine.stop], partial(progress, what=config.model.name), errors)
    rankings: Iterable[Ranking] = rank(batches, embeddings, made.encoder.logit_scale, stage.top_k)
    if ranks.world_size() > 1:
        rankings = [_gathered(rankings, min(stage.top_k, len(labels)))]
        told = ranks.gathered_values([(mine.start + place, line) for place, line in errors.items()])
        errors = dict(each for listed in told for each in listed)
    summary = None if folder is None else predict.write(folder, predict.ranked(images, labels, rankings, errors))
    encoded, stored = _counts(features)
    ended = time.perf_counter()
    if folder is None or summary is None:
        return

    timing = _timing((started, text_started, image_started, ended), encoded, stored, texts)
    record |= {"model": made.model, "prompt": prompt, "device": made.device}
    record |= {"labels": len(labels), "images": summary.size, "timing": timing}
    log.info("%s", summary)
    log.info("all of it: %s", folder / predict.TEXT)
    if summary.errors:
        raise ZeroshotError(f"{summary.errors} of {summary.size} images could not be read; each one's line says why")
    run_record.write_record(folder, record)
    if page := report.draw_run(folder):
        log.info("page: %s", page)


def _download(config: Config) -> None:
    """Fetches the model's weights and the data set, where they have an address, and tells where they lie."""
    log.info("weights: %s", weights_path(config.model))
    if isinstance(config.dataset, Cifar):
        log.info("data: %s", cifar_root(config.dataset))
    else:
        log.info("data: dataset=%s is not downloaded", config.dataset.name)


def _convert(config: Config) -> None:
    """Writes the model's weights as safetensors, and tells the line that would identify them."""
    output = expand_path(config.stage.output)
    if output.exists():
        raise ZeroshotError(f"{output} is there already: choose another stage.output, or remove it")
    checkpoint, model = load_weights(config.model)
    weights.save(
        checkpoint.tensors,
        output,
        config.stage.dtype.value,
        token_ids=checkpoint.token_ids,
        source=f"{checkpoint.path.name} ({model['weights']['format']}, sha256 {model['weights']['sha256']})",
        activation=config.model.activation.value,
    )
    log.info("written: %s", output)
    log.info("identity: %s", model["weights"]["identity"] or "not known as OpenAI's")
    log.info(
        'its line in zeroshot/models/identities.json: "%s": "%s"',
        config.model.name,
        weights.tensor_digest(checkpoint.tensors),
    )


def _check(config: Config) -> None:
    check.run(config.device)


def _report(config: Config) -> None:
    """Tells of the runs that an index gathers and draws their page, or sets two of them side by side."""
    stage, root = config.stage, expand_path(config.stage.root)
    if stage.compare is not None:
        first, second = (root / each if (root / each).is_dir() else expand_path(each) for each in stage.compare)
        log.info(comparison.told(first, second).rstrip("\n"))
        return
    lines = index.read(root)
    wanted = {"model": stage.model, "dataset": stage.dataset, "prompt": stage.prompt}
    chosen = index.chosen(lines, wanted)
    if not chosen:
        asked = " ".join(f"stage.{key}={','.join(names)}" for key, names in wanted.items() if names)
        raise ZeroshotError(
            f"{root / index.FILE}: none of its {len(lines)} runs has {asked}: `*` stands for any letters"
        )
    log.info(index.told(chosen).rstrip("\n"))
    if page := report.draw_index(root):
        log.info("page: %s", page)


STAGES: dict[str, Callable[[Config, Path | None, Record], None]] = {"eval": _evaluate, "predict": _predict}
FOLDERLESS_STAGES: dict[str, Callable[[Config], None]] = {
    "download": _download,
    "convert": _convert,
    "check": _check,
    "report": _report,
}
STAGES_OF_EACH_RANK = ("download", "check")  # on every host, of every card; the others are rank 0's


def described_prompt(config: Config) -> dict[str, Any]:
    """What the record says of the prompts."""
    prompt = config.prompt
    return {"name": prompt.name, "templates": list(prompt.templates), "class_names": prompt.class_names.value}


def summary(
    size: int, metrics: Metrics, groups: Mapping[str, Record], references: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What a person wants to read first, line by line."""
    lines = []
    if groups:
        lines.append(f"{'':14}{'images':>7}{'correct':>9}{'top-1':>9}")
        for name, each in {"all": {"size": size, **vars(metrics)}, **groups}.items():
            lines.append(f"{name:14}{each['size']:>7}{each['correct']:>9}{each['top1']:>9.2%}")
    lines.append(f"Top1 Accuracy={metrics.top1:.2%}")
    top5 = "" if metrics.top5 is None else f"top-5 {metrics.top5:.2%}, "
    lines.append(
        f"{top5}mean per-class recall {metrics.mean_per_class_recall:.2%}, calibration error {metrics.ece:.2%}"
    )
    lines += [f"published {each['top1']:.2%} ({each['source']}): {each['delta']:+.2%}" for each in references]
    return lines


def _about(made: Ready, texts: Sequence[str]) -> dict[str, Any]:
    """What every rank must share, so that their parts are parts of one run."""
    return {
        "weights": made.model["weights"]["sha256"],
        "model": {name: value for name, value in made.model.items() if name != "weights"},
        "texts": hashlib.sha256("\n".join(texts).encode()).hexdigest(),
        "device": made.device,
        "versions": run_record.versions(),
    }


def _image_features(config: Config, made: Ready) -> ImageFeatures:
    """The features of images, with a store if it is wanted: what waits to be written there is, if a rank is lost."""
    store = feature_store(config.model, made) if config.stage.cache else None
    if store is not None:
        ranks.if_lost(lambda _line: store.flush())
    return ImageFeatures(made.encoder, store)


def _gathered(rankings: Iterable[Ranking], k: int) -> Ranking:
    """The rankings of all ranks' images in their order, of k classes each; this rank may have none."""
    nothing = Ranking(np.zeros((0, k), np.int64), np.zeros((0, k)))
    mine = Ranking.joined([nothing, *rankings])
    return Ranking(ranks.gathered(mine.ids), ranks.gathered(mine.probabilities))


def _counts(features: ImageFeatures) -> list[int]:
    """How many images all ranks have encoded and how many they have read."""
    return ranks.gathered(np.array([[features.encoded, features.stored]])).sum(axis=0).tolist()  # type: ignore[no-any-return]


def _timing(times: tuple[float, float, float, float], encoded: int, stored: int, texts: Sequence[str]) -> Record:
    """What the record says of time, from the start, those of texts and images, and the end, in seconds.

    The rate is that of a run which encoded some images, else null.
    """
    started, text_started, image_started, ended = times
    return {
        "total_s": round(ended - started, 3),
        "text_s": round(image_started - text_started, 3),
        "image_s": round(ended - image_started, 3),
        "images_per_s": round(encoded / (ended - image_started), 3) if encoded else None,
        "images_encoded": encoded,
        "images_from_cache": stored,
        "texts_encoded": len(set(texts)),
    }


def _measured(images: ImageSet, ranking: Ranking) -> Metrics:
    return measure(images.labels, ranking.ids, ranking.probabilities, len(images.classes))


def _measured_part(images: ImageSet, ranking: Ranking, ids: Sequence[int]) -> Record:
    """The metrics of the images whose label is one of `ids`; all classes stay candidates."""
    places = np.flatnonzero(np.isin(images.labels, ids))
    if not len(places):
        return {"size": 0, "top1": 0.0, "correct": 0}
    part = Ranking(ranking.ids[places], ranking.probabilities[places])
    return {"size": len(places), **vars(_measured(images.select(places), part))}
