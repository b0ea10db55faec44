"""One bar of a sweep's figure."""

from dataclasses import dataclass

from zeroshot.report.intervals import Interval


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its share, the share's interval, and the published share if there is one."""

    name: str
    share: float
    interval: Interval
    published: float | None
