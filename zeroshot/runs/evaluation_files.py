"""The CSV files of an evaluation: predictions, per-class results and the confusion matrix."""

from pathlib import Path

from zeroshot.data.image_set import ImageSet
from zeroshot.runs.folder import write_csv
from zeroshot.scoring.metrics import TOP, confusion
from zeroshot.scoring.ranking import Ranking


def write_evaluation(folder: Path, data: ImageSet, ranking: Ranking) -> None:
    """Writes `predictions.csv`, `per_class.csv` and `confusion.csv`, in data-set and class order."""
    names = data.classes
    rows = zip(
        data.indices[ranking.places], data.labels[ranking.places], ranking.ids, ranking.probabilities, strict=True
    )
    write_csv(
        folder / "predictions.csv",
        ("index", "label", "prediction", "score", "top5"),
        (
            (index, names[label], names[ids[0]], f"{scores[0]:.6f}", "|".join(names[i] for i in ids[:TOP]))
            for index, label, ids, scores in rows
        ),
    )
    counts = confusion(data.labels[ranking.places], ranking.ids[:, 0], len(names))
    predicted = counts.sum(axis=0)
    write_csv(
        folder / "per_class.csv",
        ("class", "images", "correct", "recall", "predicted"),
        (
            (name, row.sum(), row[i], f"{row[i] / row.sum():.6f}" if row.sum() else "", predicted[i])
            for i, (name, row) in enumerate(zip(names, counts, strict=True))
        ),
    )
    write_csv(
        folder / "confusion.csv",
        ("label", *names),
        ((name, *row) for name, row in zip(names, counts.tolist(), strict=True)),
    )
