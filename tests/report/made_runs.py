"""Folders of runs as the real writers leave them, made without a model: for the tests of the pages."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zeroshot.data.image_set import ImageSet, Picture
from zeroshot.runs import record as run_record
from zeroshot.runs import table
from zeroshot.runs.evaluation_files import write_evaluation_files
from zeroshot.runs.prediction_files import Prediction, write_prediction_files
from zeroshot.runs.record import Record
from zeroshot.scoring.evaluation import Evaluation
from zeroshot.scoring.metrics import TOP, measure
from zeroshot.scoring.ranking import Ranking


def record(
    stage: str = "eval", model: str = "clip_vit_b_32", dataset: str = "cifar100", prompt: str = "photo"
) -> Record:
    """What every record begins with."""
    config = {
        "model": {"name": model},
        "dataset": {"name": dataset},
        "prompt": {"name": prompt},
        "stage": {"name": stage},
    }
    return run_record.start_record(config, [f"model={model}", f"dataset={dataset}", f"prompt={prompt}"])


@dataclass(frozen=True)
class Pictures(Sequence[Picture]):
    """Noise on a colour of the class, made when it is asked for; which places were asked for stands in `read`."""

    labels: NDArray[np.int64]
    colours: NDArray[np.int64]
    noise: NDArray[np.int64]
    read: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        self.read.add(place)
        return (self.colours[self.labels[place]] + self.noise[place % len(self.noise)]).astype(np.uint8)


def image_set(images: int, classes: Sequence[str], side: int = 32, seed: int = 0) -> ImageSet:
    """Images of noise on a colour of their class."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images, dtype=np.int64) % len(classes)
    colours = draw.integers(30, 220, (len(classes), 3))
    noise = draw.integers(-20, 20, (min(images, 64), side, side, 3))
    pictures = Pictures(labels, colours, noise)
    return ImageSet("cifar100", "test", "fine", tuple(classes), labels, pictures, np.arange(images), "f" * 64)


def ranking(data: ImageSet, skill: float, seed: int = 0) -> Ranking:
    """Ranks of a model that errs most with the next class; sure of itself, now and then wrongly."""
    draw = np.random.default_rng(seed)
    classes, size = len(data.classes), len(data)
    logits = draw.gumbel(size=(size, classes))
    ease = draw.uniform(0.2, 1.3, classes)
    logits[np.arange(size), data.labels] += skill * ease[data.labels]
    logits[np.arange(size), (data.labels + 1) % classes] += 0.6 * skill
    ids = np.argsort(-logits, axis=1)[:, :TOP]
    probabilities = np.exp(1.2 * (logits - logits.max(axis=1, keepdims=True)))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Ranking(np.arange(size), ids.astype(np.int64), np.take_along_axis(probabilities, ids, axis=1))


def evaluated(
    folder: Path,
    data: ImageSet,
    skill: float = 5.0,
    references: Sequence[dict[str, Any]] = (),
    groups: dict[str, Any] | None = None,
    templates: Sequence[str] = ("a photo of a {}.",),
    seed: int = 0,
    **named: str,
) -> Path:
    """A finished evaluation's folder."""
    (folder / ".hydra").mkdir(parents=True)
    ranks = ranking(data, skill, seed)
    metrics = measure(data.labels, ranks.ids, ranks.probabilities, len(data.classes))
    evaluation = Evaluation(data.labels, ranks, metrics, len(data.classes))
    write_evaluation_files(folder, evaluation, data.classes, data.indices, data.paths())
    left = record(**named)
    left |= {
        "model": {
            "name": left["config"]["model"]["name"],
            "image_size": 224,
            "interpolation": "bicubic",
            "weights": {
                "path": "/weights/ViT-B-32.pt",
                "sha256": "40d3" * 16,
                "format": "torchscript",
                "identity": "clip_vit_b_32",
            },
        },
        "dataset": {
            "name": data.name,
            "split": data.split,
            "labels": data.label_kind,
            "fingerprint": data.fingerprint,
            "size": len(data),
            "classes": len(data.classes),
        },
        "prompt": {
            "name": left["config"]["prompt"]["name"],
            "templates": list(templates),
            "class_names": "spaces",
        },
        "device": {"target": "CPU", "dtype": "float32", "batch_size": 16, "world_size": 1},
        "metrics": vars(metrics),
        "references": [{**each, "delta": metrics.top1 - each["top1"]} for each in references],
        "timing": {
            "total_s": 272.1,
            "text_s": 31.2,
            "image_s": 240.9,
            "images_per_s": len(data) / 240.9,
            "images_encoded": len(data),
            "images_from_cache": 0,
            "texts_encoded": len(data.classes) * len(templates),
        },
    }
    if groups:
        left["groups"] = groups
    run_record.write_record(folder, left)
    return folder


def failed(folder: Path, error: str, **named: str) -> Path:
    """The folder of a run that came to an error."""
    (folder / ".hydra").mkdir(parents=True)
    run_record.write_record(folder, record(**named) | {"error": error})
    return folder


def predicted(folder: Path, images: int, labels: Sequence[str], broken: int = 0, side: int = 200) -> Path:
    """A finished prediction's folder, its images beside it."""
    (folder / ".hydra").mkdir(parents=True)
    pictures = folder.parent / f"{folder.name} pictures"
    pictures.mkdir()
    draw = np.random.default_rng(1)
    made: list[Prediction] = []
    for i in range(images):
        path = pictures / f"picture_{i:03d}.jpg"
        Image.fromarray(draw.integers(0, 255, (2, 3, 3)).astype(np.uint8)).resize((side, side * 2 // 3)).save(path)
        if i < broken:
            made.append({"image": str(path), "error": f"{path}: is no picture, or cut short"})
            continue
        scores = np.sort(draw.dirichlet(np.full(len(labels), 0.4)))[::-1]
        order = draw.permutation(len(labels))
        ranked = [{"label": labels[k], "score": round(float(s), 6)} for k, s in zip(order, scores, strict=True)]
        made.append({"image": str(path), "scores": ranked[:5]})
    write_prediction_files(folder, made)
    left = record("predict") | {"labels": len(labels), "images": images}
    if broken:
        left["error"] = f"{broken} of {images} images could not be read; each one's line says why"
    run_record.write_record(folder, left)
    return folder


def swept(folder: Path, models: Sequence[str], prompts: Sequence[str], images: int = 200, fail: int = -1) -> Path:
    """A sweep's folder: models × prompts, one of which may have failed, and one more that is unfinished if so."""
    data = image_set(images, [f"class {i}" for i in range(10)])
    for number, (model, prompt) in enumerate((m, p) for m in models for p in prompts):
        job = folder / f"{number}_{model}_{prompt}"
        if number == fail:
            failed(job, "weights/cut.safetensors: ends after 5,000 bytes: fetch it anew", model=model, prompt=prompt)
        else:
            skill = 2.2 + 0.35 * (models.index(model) + 0.4 * prompts.index(prompt))
            references = [{"source": "MindFormers", "top1": 0.6 + 0.02 * models.index(model)}]
            evaluated(job, data, skill, references, model=model, prompt=prompt, seed=number)
    if fail >= 0:
        (folder / f"{len(models) * len(prompts)}_late" / ".hydra").mkdir(parents=True)
    table.write(folder)
    return folder


def embedded(page: Path, name: str) -> Any:
    """The JSON block of a page."""
    text = page.read_text(encoding="utf-8").split(f'id="{name}">', 1)[1].split("</script>", 1)[0]
    return json.loads(text)
