"""Whether the weights, the tokenizer and the data of a recorded run are still what they were."""

from typing import Any

from zeroshot.config.validate import checked
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.files import weights_file
from zeroshot.models.checkpoints.identity import file_digest
from zeroshot.runs.record import Record
from zeroshot.stages.dataset import load_dataset
from zeroshot.stages.tokenizers import tokenizer_digest
from zeroshot.stages.weights import weights_path

_fingerprints: dict[str, str] = {}  # of the data sets that this process has read, by their config


def are_unchanged(record: Record) -> bool:
    """Whether weights and tokenizer have the digests and the data set the fingerprint that the record says.

    A prediction's images have no fingerprint, so that it counts as changed.
    """
    config: dict[str, Any] = record["config"]
    try:
        built = checked(config)
        path = weights_path(built.model)
        if record["model"]["weights"]["sha256"] != file_digest(path):
            return False
        if record["model"].get("tokenizer", {}).get("sha256") != tokenizer_digest(built.model, weights_file(path)):
            return False
        key = repr(built.dataset)
        if key not in _fingerprints:
            _fingerprints[key] = load_dataset(built.dataset).fingerprint
        return bool(record["dataset"]["fingerprint"] == _fingerprints[key])
    except (ZeroshotError, KeyError):  # a run will say what is wrong
        return False
