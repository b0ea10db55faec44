"""Times six prompt sets on one model and one data set beside transformers, and prints the ratio of six runs to one.

    python -m tests.benchmarks.prompts DATA [--model clip_vit_b_32] [--images 512] [--own] [--json FILE]

DATA is a folder of CIFAR-100. The prompt sets are six of one template each, as when one looks for a wording; with
`--own`, the six of `conf/prompt`, whose 108 templates take longer than 512 images do. Weights are drawn. Seconds are
those of whole processes, with all that is loaded and compiled. transformers loads once as well, reads the images again
for each prompt set, as its users do, and pads texts to the longest of a batch. Needs torch and transformers.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tests.benchmarks.peers import THREADS
from tests.drawn import draw
from zeroshot.config.named import architecture, known_models, prompt_templates
from zeroshot.data import cifar
from zeroshot.models.checkpoints.save import save
from zeroshot.scoring.prompts import fill_templates

ROOT = Path(__file__).parents[2]
TEMPLATES = ("a photo of a {}.", "a picture of a {}.", "a blurry photo of a {}.", "a {}.", "an image of one {}.", "{}")
OWN = ("openai_cifar", "plain", "photo", "mindformers", "openai_imagenet_7", "openai_imagenet")
BATCH = {"images": 32, "texts": 64}  # of transformers


def ours(arguments: argparse.Namespace, weights: Path, count: int) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of the command with an empty store, and the timing in each job's record."""
    quoted = [f"['{template}']" for template in TEMPLATES[:count]]
    prompts = f"prompt={','.join(OWN[:count])}" if arguments.own else f"prompt.templates={','.join(quoted)}"
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "zeroshot", "-m", f"model={arguments.model}", f"model.weights.path={weights}"]
        command += [f"dataset.root={arguments.data}", f"dataset.limit={arguments.images}", "device=cpu", prompts]
        started = time.perf_counter()
        subprocess.run(
            [*command, f"hydra.sweep.dir={folder}/sweep"],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "ZEROSHOT_HOME": f"{folder}/home", "PYTHONPATH": str(ROOT)},
        )
        seconds = time.perf_counter() - started
        records = [json.loads(path.read_text()) for path in sorted(Path(folder, "sweep").glob("*/result.json"))]
    return seconds, [record["timing"] for record in records]


def theirs(arguments: argparse.Namespace, count: int) -> float:
    """Seconds of a process that does the same with transformers."""
    command = [sys.executable, "-m", "tests.benchmarks.prompts", str(arguments.data), "--model", arguments.model]
    command += ["--images", str(arguments.images), "--transformers", str(count)] + ["--own"] * arguments.own
    return float(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.split()[-1])


def transformers(arguments: argparse.Namespace, prompts: Sequence[Sequence[str]]) -> float:
    """Evaluates each prompt set in this process, from loaded weights on; the seconds, imports included."""
    size = architecture(known_models()[arguments.model])
    tensors = draw(size)
    started = time.perf_counter()
    import torch
    from transformers import CLIPImageProcessor

    from tests.reference import transformers_clip
    from zeroshot.models.tokenizer import Tokenizer

    torch.set_num_threads(THREADS)
    built = transformers_clip.model(size, tensors)
    processor = CLIPImageProcessor(size={"shortest_edge": size.image_size}, crop_size=size.image_size)
    data = cifar.load(arguments.data, "test", "fine").limited(arguments.images)
    for templates in prompts:
        tokens = Tokenizer()(fill_templates(data.classes, templates, "spaces"))
        text, image = [], []
        for start in range(0, len(tokens), BATCH["texts"]):
            part = tokens[start : start + BATCH["texts"]]
            text.append(transformers_clip.text_features(built, part[:, : part.argmax(axis=1).max() + 1]))
        for start in range(0, len(data), BATCH["images"]):
            places = range(start, min(start + BATCH["images"], len(data)))
            pixels = processor([data.images[place] for place in places], return_tensors="pt")["pixel_values"]
            image.append(transformers_clip.image_features(built, pixels))
        means = np.concatenate(text).reshape(len(data.classes), -1, size.embed_dim).mean(axis=1)
        (np.concatenate(image) @ means.T).argmax(axis=1)
    return time.perf_counter() - started


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="clip_vit_b_32")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--transformers", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.transformers:
        sets = [prompt_templates(name) for name in OWN] if arguments.own else [[template] for template in TEMPLATES]
        print(transformers(arguments, sets[: arguments.transformers]))  # noqa: T201
        return
    result: dict[str, Any] = {"model": arguments.model, "images": arguments.images, "own_prompts": arguments.own}
    with TemporaryDirectory() as folder:
        weights = Path(folder, "drawn.safetensors")
        save(draw(architecture(known_models()[arguments.model])), weights)
        for count in (1, 6):
            seconds, timing = ours(arguments, weights, count)
            result[f"ours_{count}"] = seconds
            result[f"ours_{count}_images_encoded"] = sum(each["images_encoded"] for each in timing)
            result[f"ours_{count}_texts_encoded"] = sum(each["texts_encoded"] for each in timing)
            result[f"transformers_{count}"] = theirs(arguments, count)
    for who in ("ours", "transformers"):
        result[f"{who}_ratio"] = result[f"{who}_6"] / result[f"{who}_1"]
        print(  # noqa: T201
            f"{who:13} one prompt set {result[f'{who}_1']:6.1f} s, six {result[f'{who}_6']:6.1f} s: "
            f"{result[f'{who}_ratio']:.2f} ×"
        )
    print(f"images that we encoded for the six: {result['ours_6_images_encoded']}")  # noqa: T201
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
