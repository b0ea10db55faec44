"""What a stage hands to the runner."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeroshot.runs.record import Record


@dataclass
class StageResult:
    """The outcome of a stage that leaves a run folder.

    `record` holds the keys that it adds to the run's record. `write` writes its result files into the folder; what it
    prints for people is printed before. `images` are those that the page may show, by their places in the result files.
    `hint` is logged at the end.
    `error` says what is wrong with an outcome that is complete all the same, such as images that could not be read.
    """

    record: Record
    write: Callable[[Path], None]
    images: Sequence[Any] | None = None
    hint: str | None = None
    error: str | None = None


class Stopwatch:
    """Seconds between the laps of a stage, as `timing` in its record has them."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._laps = {"start": now()}

    def lap(self, name: str) -> None:
        """Notes that `name` begins; only its first call counts."""
        self._laps.setdefault(name, self._now())

    def timing(self, images_encoded: int, images_from_cache: int, texts_encoded: int) -> Record:
        """Seconds in all, for texts and for images, and images encoded per second, null where none was encoded."""
        end = self._now()
        image_start = self._laps.get("image", end)
        text_start = self._laps.get("text", image_start)
        image_seconds = end - image_start
        return {
            "total_s": round(end - self._laps["start"], 3),
            "text_s": round(image_start - text_start, 3),
            "image_s": round(image_seconds, 3),
            "images_per_s": round(images_encoded / image_seconds, 3) if images_encoded else None,
            "images_encoded": images_encoded,
            "images_from_cache": images_from_cache,
            "texts_encoded": texts_encoded,
        }
