"""The table of a sweep, from the records that its jobs left."""

import csv
from pathlib import Path
from typing import Any

from zeroshot import results, table


def job(sweep: Path, name: str, digest: str, top1: float | None = None, **more: Any) -> None:
    """A job's folder, with its record if it came to one."""
    (sweep / name / ".hydra").mkdir(parents=True)
    config = {"model": {"name": "tiny"}, "dataset": {"name": "shapes"}, "prompt": {"name": "plain"}}
    record: dict[str, Any] = {"schema": 1, "config": config, "config_digest": digest, **more}
    if top1 is not None:
        record |= {
            "metrics": {"top1": top1, "top5": None, "mean_per_class_recall": 0.5, "ece": 0.1, "correct": 5},
            "dataset": {"size": 10},
            "references": [{"source": "x", "top1": 0.5, "delta": top1 - 0.5}],
            "timing": {"images_per_s": 12.34, "total_s": 0.81},
        }
    if top1 is not None or "error" in more:
        results.write_record(sweep / name, record)


def test_rows_stand_in_the_order_of_the_jobs_with_failed_and_unfinished_ones(tmp_path: Path) -> None:
    job(tmp_path, "10_tiny_plain", "c", 0.25)
    job(tmp_path, "2_tiny_plain", "b", error="weights | cut\nshort")
    job(tmp_path, "0_tiny_plain", "a", 0.75)
    job(tmp_path, "1_tiny_plain", "-")
    (tmp_path / "no job").mkdir()
    listed = table.rows(tmp_path)
    assert [row["folder"] for row in listed] == ["0_tiny_plain", "1_tiny_plain", "2_tiny_plain", "10_tiny_plain"]
    assert [row["status"] for row in listed] == ["ok", table.UNFINISHED, "weights | cut\nshort", "ok"]
    assert not table.complete(tmp_path)
    table.write(tmp_path)
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == table.COLUMNS
    assert read[0]["top1"] == "0.75"
    assert read[1]["top1"] == ""
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 4
    assert len({len(line) for line in lines[:3]}) == 1  # aligned in plain text too
    assert "75.00" in lines[2]
    assert "+25.00" in lines[2]
    assert "weights \\| cut short" in lines[4]


def test_of_two_records_of_one_config_the_newest_counts(tmp_path: Path) -> None:
    job(tmp_path, "0_tiny_plain", "a", error="no weights")
    job(tmp_path, "0_tiny_plain-2", "a", 0.5)
    assert [row["folder"] for row in table.rows(tmp_path)] == ["0_tiny_plain-2"]
    assert table.complete(tmp_path)
