"""Scoring: class names and templates to class embeddings, features to ranked classes, and the metrics of a ranking."""

from zeroshot.scoring.class_embeddings import embed_classes
from zeroshot.scoring.evaluation import Evaluation, evaluate
from zeroshot.scoring.metrics import Metrics
from zeroshot.scoring.ranking import Ranking, rank

__all__ = ["Evaluation", "Metrics", "Ranking", "embed_classes", "evaluate", "rank"]
