"""The CSV files of an evaluation: predictions, per-class results and the confusion matrix.

Classes are identified by their ids, since two may have one name; in `top5` names are joined by `|`, and a `|` in a name
is written `\\|`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zeroshot.data.file_names import escape
from zeroshot.runs.folder import CONFUSION, PER_CLASS, PREDICTIONS, write_csv
from zeroshot.scoring.evaluation import Evaluation
from zeroshot.scoring.metrics import TOP, confusion

PREDICTION_COLUMNS = ("index", "label", "prediction", "score", "top5", "label_id", "prediction_id", "top5_ids", "path")
CLASS_COLUMNS = ("class", "images", "correct", "recall", "predicted", "id")


def write_evaluation_files(
    folder: Path,
    evaluation: Evaluation,
    class_names: Sequence[str],
    indices: NDArray[np.int64],
    paths: Sequence[str] | None,
) -> None:
    """Writes `predictions.csv`, `per_class.csv` and `confusion.csv`, in the order of the images and of the classes.

    Args:
        indices: the images' places in the whole split [N], by the places of the evaluation.
        paths: the images' files, None for arrays, whose `path` is their index.
    """
    ranking = evaluation.ranking
    rows = []
    for place, label, ids, scores in zip(
        ranking.places, evaluation.labels, ranking.ids, ranking.probabilities, strict=True
    ):
        top = ids[:TOP].tolist()
        names = "|".join(class_names[id].replace("|", "\\|") for id in top)
        path = indices[place] if paths is None else escape(paths[place])
        rows.append(
            (
                *(indices[place], class_names[label], class_names[top[0]], f"{scores[0]:.6f}", names),
                *(label, top[0], "|".join(map(str, top)), path),
            )
        )
    write_csv(folder / PREDICTIONS, PREDICTION_COLUMNS, rows)
    counts = confusion(evaluation.labels, ranking.ids[:, 0], len(class_names))
    predicted = counts.sum(axis=0)
    write_csv(
        folder / PER_CLASS,
        CLASS_COLUMNS,
        (
            (name, row.sum(), row[id], f"{row[id] / row.sum():.6f}" if row.sum() else "", predicted[id], id)
            for id, (name, row) in enumerate(zip(class_names, counts, strict=True))
        ),
    )
    write_csv(
        folder / CONFUSION,
        ("label", *class_names),
        ((name, *row) for name, row in zip(class_names, counts.tolist(), strict=True)),
    )
