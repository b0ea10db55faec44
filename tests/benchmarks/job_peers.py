"""The whole job by others: CIFAR-100's images into its classes, as their users would write it.

    python -m tests.benchmarks.job_peers PEER WEIGHTS CIFAR IMAGES PROMPTS

evaluates one prompt set after the other and prints the accuracy of each. Both peers load their model once, in float32,
and encode the images anew for each prompt set; batches are of 64 images. Underscores in class names become spaces for
every prompt set; in this package `mindformers` keeps them, so that its accuracy may differ.

    python -m tests.benchmarks.job_peers class_embeddings WEIGHTS LABELS PROMPT

lets CLIP_benchmark embed the labels of a file with one prompt set, and prints the seconds.
"""

import pickle
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from zeroshot.config.named import prompt_templates

BATCH = 64
OPEN_CLIP = "ViT-B-32-quickgelu"


class Cifar(torch.utils.data.Dataset[Any]):
    """Some images of the test split, evenly spread as `dataset.limit` chooses them."""

    def __init__(self, folder: Path, count: int, transform: Any = None) -> None:
        split, meta = (pickle.loads((folder / name).read_bytes(), encoding="latin1") for name in ("test", "meta"))  # noqa: S301
        places = np.arange(count) * len(split["data"]) // count
        self.pixels = split["data"][places].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        self.labels = np.array(split["fine_labels"])[places]
        self.classes = [name.replace("_", " ") for name in meta["fine_label_names"]]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        image = Image.fromarray(self.pixels[place])
        return self.transform(image) if self.transform else image, int(self.labels[place])


def clip_benchmark(weights: Path, cifar: Path, count: int, prompts: Sequence[str]) -> list[float]:
    """CLIP_benchmark's evaluator on open_clip's model, its images read by two more processes."""
    import open_clip
    from clip_benchmark.metrics.zeroshot_classification import evaluate

    model, _, transform = open_clip.create_model_and_transforms(OPEN_CLIP, pretrained=str(weights))
    images = Cifar(cifar, count, transform)
    loader = torch.utils.data.DataLoader(images, BATCH, num_workers=2)
    tokenizer = open_clip.get_tokenizer(OPEN_CLIP)
    found = [
        evaluate(model.eval(), loader, tokenizer, images.classes, clip_benchmark_templates(name), "cpu", amp=False)
        for name in prompts
    ]
    return [float(each["acc1"]) for each in found]


def class_embeddings(weights: Path, labels: Path, prompt: str) -> float:
    """Seconds of CLIP_benchmark's classifier of some labels, from a loaded model."""
    import open_clip
    from clip_benchmark.metrics.zeroshot_classification import zero_shot_classifier

    model, _, _ = open_clip.create_model_and_transforms(OPEN_CLIP, pretrained=str(weights))
    tokenizer, names = open_clip.get_tokenizer(OPEN_CLIP), labels.read_text(encoding="utf-8").splitlines()
    started = time.perf_counter()
    zero_shot_classifier(model.eval(), tokenizer, names, clip_benchmark_templates(prompt), "cpu", amp=False)
    return time.perf_counter() - started


def clip_benchmark_templates(prompt: str) -> list[str]:
    """The templates of a prompt set as CLIP_benchmark fills them."""
    return [template.replace("{}", "{c}") for template in prompt_templates(prompt)]


@torch.no_grad()
def transformers(folder: Path, cifar: Path, count: int, prompts: Sequence[str]) -> list[float]:
    """A plain script on transformers, prompts padded to the longest of their class."""
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer, processor = CLIPTokenizer.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)
    images = Cifar(cifar, count)
    accuracies = []
    for prompt in prompts:
        embeddings = []
        for name in images.classes:
            texts = [template.replace("{}", name) for template in prompt_templates(prompt)]
            features = model.get_text_features(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output
            embeddings.append(torch.nn.functional.normalize(features, dim=-1).mean(0))
        classifier = torch.nn.functional.normalize(torch.stack(embeddings), dim=-1)
        correct = 0
        for start in range(0, count, BATCH):
            items = [images[place] for place in range(start, min(start + BATCH, count))]
            pixels = processor([image for image, _ in items], return_tensors="pt")
            features = model.get_image_features(**pixels).pooler_output
            labels = torch.tensor([label for _, label in items])
            correct += int(((features @ classifier.T).argmax(1) == labels).sum())
        accuracies.append(correct / count)
    return accuracies


if __name__ == "__main__":
    torch.set_num_threads(2)
    peer, weights, rest = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    if peer == "class_embeddings":
        print("seconds", class_embeddings(weights, Path(rest[0]), rest[1]))  # noqa: T201
    else:
        job = {"clip_benchmark": clip_benchmark, "transformers": transformers}[peer]
        print("accuracies", *job(weights, Path(rest[0]), int(rest[1]), rest[2].split(",")))  # noqa: T201
