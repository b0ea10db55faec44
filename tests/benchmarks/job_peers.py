"""The whole job by others: CIFAR-100's images into its classes with 18 templates, as their users would write it.

    python -m tests.benchmarks.job_peers PEER WEIGHTS CIFAR IMAGES

prints the accuracy. Both read the pickle themselves, in float32; batches are of 64 images.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from zeroshot.config.named import prompt_templates

BATCH = 64


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


def clip_benchmark(weights: Path, cifar: Path, count: int) -> float:
    """CLIP_benchmark's evaluator on open_clip's model, its images read by two more processes."""
    import open_clip
    from clip_benchmark.metrics.zeroshot_classification import evaluate

    model, _, transform = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=str(weights))
    images = Cifar(cifar, count, transform)
    loader = torch.utils.data.DataLoader(images, BATCH, num_workers=2)
    templates = [template.replace("{}", "{c}") for template in prompt_templates("openai_cifar")]
    tokenizer = open_clip.get_tokenizer("ViT-B-32-quickgelu")
    found = evaluate(model.eval(), loader, tokenizer, images.classes, templates, "cpu", amp=False)
    return float(found["acc1"])


@torch.no_grad()
def transformers(folder: Path, cifar: Path, count: int) -> float:
    """A plain script on transformers, prompts padded to the longest of their class."""
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer, processor = CLIPTokenizer.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)
    images = Cifar(cifar, count)
    embeddings = []
    for name in images.classes:
        texts = [template.replace("{}", name) for template in prompt_templates("openai_cifar")]
        features = model.get_text_features(**tokenizer(texts, padding=True, return_tensors="pt")).pooler_output
        embeddings.append(torch.nn.functional.normalize(features, dim=-1).mean(0))
    classifier = torch.nn.functional.normalize(torch.stack(embeddings), dim=-1)
    correct = 0
    for start in range(0, count, BATCH):
        items = [images[place] for place in range(start, min(start + BATCH, count))]
        pixels = processor([image for image, _ in items], return_tensors="pt")
        features = model.get_image_features(**pixels).pooler_output
        correct += int(((features @ classifier.T).argmax(1) == torch.tensor([label for _, label in items])).sum())
    return correct / count


if __name__ == "__main__":
    job = {"clip_benchmark": clip_benchmark, "transformers": transformers}[sys.argv[1]]
    torch.set_num_threads(2)
    print("accuracy", job(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])))  # noqa: T201
