"""The table of a sweep, from the records that its jobs left."""

import csv
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from zeroshot.runs import record as run_record
from zeroshot.runs import table


def job(
    sweep: Path,
    name: str,
    digest: str,
    top1: float | None = None,
    overrides: tuple[str, ...] = (),
    model: str = "tiny",
    prompt: str = "plain",
    size: int = 10,
    **more: Any,
) -> None:
    """A job's folder, with its record if it came to one."""
    (sweep / name / ".hydra").mkdir(parents=True)
    config = {"model": {"name": model}, "dataset": {"name": "shapes"}, "prompt": {"name": prompt}}
    OmegaConf.save(config, sweep / name / ".hydra" / "config.yaml")
    OmegaConf.save(list(overrides), sweep / name / ".hydra" / "overrides.yaml")
    record: dict[str, Any] = {"schema": 1, "config": config, "config_digest": digest, "overrides": list(overrides)}
    record |= more
    if top1 is not None:
        record |= {
            "metrics": {"top1": top1, "top5": None, "mean_per_class_recall": 0.5, "ece": 0.1, "correct": 5},
            "dataset": {"size": size},
            "references": [{"source": "somebody", "top1": 0.5, "delta": top1 - 0.5}],
            "timing": {"images_per_s": 12.34, "total_s": 0.81},
        }
    if top1 is not None or "error" in more:
        run_record.write_record(sweep / name, record)


def test_rows_are_in_the_order_of_the_jobs_with_failed_and_unfinished_ones(tmp_path: Path) -> None:
    job(tmp_path, "10_tiny_plain", "c", 0.25)
    job(tmp_path, "2_tiny_plain", "b", error="weights | cut\nshort")
    job(tmp_path, "0_tiny_plain", "a", 0.75)
    job(tmp_path, "1_other_plain", "-", model="other")
    (tmp_path / "no job").mkdir()
    listed = table.rows(tmp_path)
    assert [row["folder"] for row in listed] == ["0_tiny_plain", "1_other_plain", "2_tiny_plain", "10_tiny_plain"]
    assert [row["status"] for row in listed] == ["ok", table.UNFINISHED, "weights | cut\nshort", "ok"]
    assert [row["model"] for row in listed] == ["tiny", "other", "tiny", "tiny"]
    assert not table.complete(tmp_path)
    table.write(tmp_path)
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert tuple(read[0]) == table.COLUMNS
    assert read[0]["top1"] == "0.75"
    assert read[1]["top1"] == ""
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "shapes, prompt plain, 10 images; published by somebody"
    assert len(lines) == 4 + 4
    starts = {[place for place, sign in enumerate(line) if sign == "|"][8] for line in lines[2:]}
    assert len(starts) == 1  # aligned in plain text too, but for the reasons
    assert "+25.00" in lines[4]
    assert "weights \\| cut short" in lines[6]


def test_of_two_records_of_one_config_the_newest_counts(tmp_path: Path) -> None:
    job(tmp_path, "0_tiny_plain", "a", error="no weights")
    job(tmp_path, "0_tiny_plain-2", "a", 0.5)
    assert [row["folder"] for row in table.rows(tmp_path)] == ["0_tiny_plain-2"]
    assert table.complete(tmp_path)


def test_a_complete_record_counts_more_than_a_later_attempt(tmp_path: Path) -> None:
    job(tmp_path, "0_tiny_plain", "a", 0.5)
    job(tmp_path, "0_tiny_plain-2", "a")
    job(tmp_path, "0_tiny_plain-3", "a", error="interrupted")
    assert [row["folder"] for row in table.rows(tmp_path)] == ["0_tiny_plain"]


def test_overrides_that_differ_are_a_column(tmp_path: Path) -> None:
    job(tmp_path, "0_tiny_plain", "a", 0.25, ("model=tiny", "device=cpu", "dataset.limit=6"))
    job(tmp_path, "1_tiny_plain", "b", 0.75, ("model=tiny", "device=cpu", "dataset.limit=9"))
    lines = table.markdown(table.rows(tmp_path)).splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == [
        "options",
        "-" * 17,
        *(f"dataset.limit={n}" for n in (6, 9)),
    ]


def test_an_override_with_spaces_is_one_option_and_the_choice_of_a_prompt_is_none(tmp_path: Path) -> None:
    job(tmp_path, "0", "a", 0.25, ("prompt=photo", "prompt.templates=[a photo of a {}, the {}]", "hydra.verbose=true"))
    job(tmp_path, "1", "b", 0.75, ("prompt=plain", "prompt.templates=[a photo of a {}, a {}]"))
    assert table.differing_options(table.rows(tmp_path)) == [
        "prompt.templates=[a photo of a {}, the {}]",
        "prompt.templates=[a photo of a {}, a {}]",
    ]


def test_several_prompts_make_a_matrix_where_a_pair_has_one_run(tmp_path: Path) -> None:
    job(tmp_path, "0", "a", 0.25, model="small", prompt="plain")
    job(tmp_path, "1", "b", 0.5, model="small", prompt="photo")
    job(tmp_path, "2", "c", 0.75, model="large", prompt="plain")
    job(tmp_path, "3", "d", error="no room", model="large", prompt="photo")
    text = table.markdown(table.rows(tmp_path))
    assert text.endswith(
        "\nTop-1 on shapes, models × prompts\n\n"
        "| model | plain |  photo |\n"
        "|-------|------:|-------:|\n"
        "| small | 25.00 |  50.00 |\n"
        "| large | 75.00 | failed |\n"
    )
    assert len(table.matrices(table.rows(tmp_path))) == 1
    job(tmp_path, "4", "e", 0.5, model="small", prompt="plain")
    assert "models × prompts" not in table.markdown(table.rows(tmp_path))


def test_runs_on_other_images_make_no_matrix(tmp_path: Path) -> None:
    job(tmp_path, "0", "a", 0.25, prompt="plain")
    job(tmp_path, "1", "b", 0.5, prompt="photo", size=7)
    assert table.matrices(table.rows(tmp_path)) == []


def test_a_file_of_hydras_that_was_cut_short_leaves_an_unfinished_row(tmp_path: Path) -> None:
    job(tmp_path, "0_tiny_plain", "a")
    (tmp_path / "0_tiny_plain" / ".hydra" / "config.yaml").write_text("model: {name: 'ti")
    (row,) = table.rows(tmp_path)
    assert (row["model"], row["status"]) == (None, table.UNFINISHED)
    assert "| –" in table.markdown([row])
