"""Counts what a checkpoint of `clip_tiny` gets right: `python -m experiments.clip_tiny.evaluate`.

Top-1 among all hundred names over 1,000 images, for each prompt set in conf/prompt/ and each seed given; the eighty
seen pairs and the twenty unseen ones apart.
"""

import argparse
import logging
from dataclasses import fields
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from zeroshot.data import shapes
from zeroshot.models.architecture import Architecture
from zeroshot.models.checkpoints.load import load
from zeroshot.models.encoder import Encoder
from zeroshot.scoring.class_embeddings import mean_of_templates
from zeroshot.scoring.prompts import fill_templates
from zeroshot.scoring.ranking import Ranking, rank

ROOT = Path(__file__).parents[2]

log = logging.getLogger("clip_tiny")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=ROOT / "zeroshot/models/clip_tiny.safetensors")
    parser.add_argument("--model", type=Path, default=ROOT / "conf/model/clip_tiny.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--prompts", nargs="+", default=["openai_cifar", "mindformers", "plain", "photo"])
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    model = DictConfig(OmegaConf.load(given.model))
    size = Architecture(**{field.name: model[field.name] for field in fields(Architecture) if field.name in model})
    encoder = Encoder(size, load(given.weights, size).tensors, batch_size=50)
    unseen = np.isin(shapes.FINE, shapes.UNSEEN)

    log.info("| seed | prompt | all | seen pairs | unseen pairs |\n|---|---|---|---|---|")
    for seed in given.seeds:
        images = shapes.load("test", seed=seed)
        batches = list(encoder.feature_batches(images.images))
        for name in given.prompts:
            prompt = DictConfig(OmegaConf.load(ROOT / f"conf/prompt/{name}.yaml"))
            texts = encoder.encode_text(fill_templates(shapes.FINE, list(prompt.templates), prompt.class_names))
            embeddings = mean_of_templates(texts, len(prompt.templates))
            ranking = Ranking.concatenate(rank(batches, embeddings, encoder.logit_scale, 1), 1)
            right, apart = ranking.ids[:, 0] == images.labels, unseen[images.labels]
            parts = [right, right[~apart], right[apart]]
            log.info("| %d | %s | %s |", seed, name, " | ".join(f"{part.sum()} / {len(part)}" for part in parts))


if __name__ == "__main__":
    main()
