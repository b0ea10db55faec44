"""Whether the weights and the data of a recorded run are still what they were."""

from typing import Any

from zeroshot.config.validate import checked
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.identity import file_digest
from zeroshot.runs.record import Record
from zeroshot.stages.dataset import load_dataset
from zeroshot.stages.weights import weights_path

_fingerprints: dict[str, str] = {}  # of the data sets that this process has read, by their config


def are_unchanged(record: Record) -> bool:
    """Whether the weights have the digest and the data set the fingerprint that the record says.

    A prediction's images have no fingerprint, so that it counts as changed.
    """
    config: dict[str, Any] = record["config"]
    try:
        built = checked(config)
        if record["model"]["weights"]["sha256"] != file_digest(weights_path(built.model)):
            return False
        key = repr(built.dataset)
        if key not in _fingerprints:
            _fingerprints[key] = load_dataset(built.dataset).fingerprint
        return bool(record["dataset"]["fingerprint"] == _fingerprints[key])
    except (ZeroshotError, KeyError):  # a run will say what is wrong
        return False
