"""The pages as files: what is in them, what is not, how large they are, and what a failure costs."""

import base64
import hashlib
import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.report.made_runs import Pictures, embedded, evaluated, failed, image_set, predicted, swept
from zeroshot import report
from zeroshot.report import draw_index, draw_run, draw_sweep
from zeroshot.runs import table
from zeroshot.runs.folder import PAGE

EVIL = "<script>alert(1)</script>"
NAMES = [EVIL, 'a "quoted" & <b>bold</b> ${name} $x$', "{{ 7 * 7 }}", "向日葵", "bird's nest", "</style></script>"]


def text(page: Path | None) -> str:
    assert page is not None
    return page.read_text(encoding="utf-8")


def test_a_run_has_its_page_and_its_figures(tmp_path: Path) -> None:
    data = image_set(120, [f"class_{i}" for i in range(6)])
    references = [{"source": "MindFormers (model card)", "top1": 0.5724}]
    folder = evaluated(tmp_path / "run", data, references=references, templates=["a photo of a {}.", "{} & co"])
    page = text(draw_run(folder, data.images))
    record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    metrics = record["metrics"]
    for share in (metrics["top1"], metrics["top5"], metrics["mean_per_class_recall"], metrics["ece"]):
        assert f'<span class="value">{100 * share:.2f}</span>' in page
    for shown in (
        "MindFormers (model card)",
        "57.24",
        "class 0 &amp; co",
        record["config_digest"],
        "model=clip_vit_b_32",
    ):
        assert shown in page
    for name in ("confusion", "per_class", "reliability"):
        with Image.open(folder / "figures" / f"{name}.png") as figure:
            assert figure.width > 600
    matrix = embedded(folder / "report.html", "matrix-data")
    cells = np.array(matrix["cells"]).reshape(-1, 3)
    assert cells[:, 2].sum() == 120
    assert cells[cells[:, 0] == cells[:, 1], 2].sum() == metrics["correct"]


def test_groups_of_classes_are_set_apart(tmp_path: Path) -> None:
    data = image_set(120, [f"class {i}" for i in range(6)])
    groups = {
        "seen pairs": {"size": 80, "top1": 0.75, "correct": 60},
        "none of them": {"size": 0, "top1": 0.0, "correct": 0},
    }
    page = text(draw_run(evaluated(tmp_path / "run", data, groups=groups)))
    assert '<tr><th scope="row">seen pairs</th><td class="number">80</td><td class="number">60</td>' in page


def test_only_the_images_that_are_shown_are_read(tmp_path: Path) -> None:
    data = image_set(2000, [f"class {i}" for i in range(20)])
    page = text(draw_run(evaluated(tmp_path / "run", data, skill=2.0), data.images))
    assert isinstance(data.images, Pictures)
    assert 24 <= len(data.images.read) <= 12 * 4 + 24
    assert page.count("<img") >= 12 * 4


def test_without_its_images_a_run_is_drawn_all_the_same(tmp_path: Path) -> None:
    page = text(draw_run(evaluated(tmp_path / "run", image_set(60, ["a", "b"]))))
    assert "<img" not in page
    assert "The most frequent confusions" in page


def test_a_run_that_took_all_its_features_from_the_store_has_a_page(tmp_path: Path) -> None:
    job = evaluated(tmp_path / "sweep" / "0_first", image_set(60, ["a", "b"]))
    record = json.loads((job / "result.json").read_text(encoding="utf-8"))
    record["timing"] |= {"images_per_s": None, "images_encoded": 0, "images_from_cache": 60}
    (job / "result.json").write_text(json.dumps(record), encoding="utf-8")
    assert "60 taken from the store" in text(draw_run(job))
    assert "1 of 1 run done" in text(draw_sweep(tmp_path / "sweep"))


def test_a_run_without_a_mistake_says_so(tmp_path: Path) -> None:
    data = image_set(40, [f"class {i}" for i in range(4)])
    assert (
        text(draw_run(evaluated(tmp_path / "run", data, skill=300.0), data.images)).count("every image is right") == 2
    )


def test_a_page_of_10000_images_and_1000_classes_stays_under_5_megabytes(tmp_path: Path) -> None:
    data = image_set(10_000, [f"a class with a rather long name {i}" for i in range(1000)], side=200)
    draw_run(evaluated(tmp_path / "run", data), data.images)
    folder = predicted(tmp_path / "predicted", 130, ["cat", "dog"])
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8")
    (folder / "predictions.jsonl").write_text(lines * 77, encoding="utf-8")
    assert "of 10,010 images" in text(draw_run(folder))
    for page in (tmp_path / "run" / "report.html", folder / "report.html"):
        assert page.stat().st_size < 5_000_000


def pages(root: Path) -> list[Path]:
    """One page of each kind, full of names that no page should believe."""
    data = image_set(90, NAMES)
    run = evaluated(
        root / "run", data, skill=2.0, templates=[f"{EVIL} {{}}"], model=EVIL, dataset=NAMES[1], prompt=EVIL
    )
    sweep = swept(root / "sweeps" / "one", [EVIL.replace("/", "")], ["plain", "photo"], images=50)
    drawn = [
        draw_run(run, data.images),
        draw_run(predicted(root / "predicted", 14, NAMES, broken=2)),
        draw_run(failed(root / "failed", f"{EVIL}: no such thing", model=EVIL)),
        draw_sweep(sweep),
        draw_index(root),
    ]
    return [page for page in drawn if page is not None]


def test_names_that_look_like_code_are_text_wherever_they_stand(tmp_path: Path) -> None:
    for page in pages(tmp_path):
        content = text(page)
        assert "<script>alert" not in content
        assert "<b>bold" not in content
        assert "\\u003cscript\\u003e" in content or "&lt;script&gt;" in content
        assert content.count("</style>") == 1
        assert content.count("</script>") == content.count("<script")
    assert len(pages(tmp_path / "again")) == 5


def test_pages_name_no_address_that_a_browser_would_ask(tmp_path: Path) -> None:
    for page in pages(tmp_path):
        content = text(page)
        assert not re.findall(r'src="(?!data:)[^"]*"', content)
        assert not re.findall(r'href="(?:https?:|//)[^"]*"', content)
        assert not re.findall(r"url\((?!#)[^)]*\)|@import", content)
        assert "default-src 'none'" in content
        script = re.search(r"<script>(.*?)</script>", content, re.DOTALL)
        assert script is not None
        digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in content


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    data = image_set(60, ["a", "b", "c"])
    folder = evaluated(tmp_path / "run", data)
    draw_run(folder, data.images)
    names = ("report.html", "figures/confusion.png", "figures/per_class.png", "figures/reliability.png")
    first = [(folder / name).read_bytes() for name in names]
    draw_run(folder, data.images)
    assert first == [(folder / name).read_bytes() for name in names]


def test_a_prediction_shows_each_image_and_why_one_is_missing(tmp_path: Path) -> None:
    page = text(draw_run(predicted(tmp_path / "run", 6, ["cat", "dog"], broken=1)))
    assert page.count("<img") == 5
    assert "picture_000.jpg: is no picture, or cut short" in page
    assert "1 of 6 images could not be read" in page


def test_a_sweep_has_its_table_its_bars_and_its_matrix(tmp_path: Path) -> None:
    models, prompts = ["clip_vit_b_32", "clip_vit_l_14@336"], ["plain", "photo", "openai_cifar"]
    folder = swept(tmp_path / "sweep", models, prompts, fail=4)
    for job in folder.iterdir():
        if job.is_dir():
            draw_run(job) if (job / "result.json").is_file() else None
    page = text(draw_sweep(folder))
    assert "5 of 7 runs done" in page
    assert "1 failed" in page
    assert "1 unfinished" in page
    assert "ends after 5,000 bytes" in page
    assert page.count('<span class="mark"') == 5
    assert page.count('class="number best"') == 2
    assert 'href="3_clip_vit_l_14%40336_plain/report.html"' in page
    assert "6_late/report.html" not in page
    assert {path.name for path in (folder / "figures").iterdir()} == {"models.png", "prompts.png"}


def test_a_sweep_in_which_nothing_is_done_yet_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "sweep" / "0_first" / ".hydra").mkdir(parents=True)
    assert "0 of 1 run done" in text(draw_sweep(tmp_path / "sweep"))


def test_the_index_lists_runs_newest_first_and_draws_the_pages_that_are_missing(tmp_path: Path) -> None:
    for day, top in (("2026-11-24", 2.0), ("2026-11-25", 3.0)):
        folder = evaluated(tmp_path / day / "10-00-00_tiny", image_set(40, ["a", "b"]), skill=top, model=f"tiny {day}")
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        (folder / "result.json").write_text(
            json.dumps(record | {"finished": f"{day}T10:00:00+00:00"}), encoding="utf-8"
        )
    swept(tmp_path / "sweeps" / "one", ["tiny"], ["plain", "photo"], images=50)
    (tmp_path / "2026-11-25" / "11-00-00_killed" / ".hydra").mkdir(parents=True)
    page = text(draw_index(tmp_path))
    assert page.index("tiny 2026-11-25</td>") < page.index("tiny 2026-11-24</td>")
    links = re.findall(r'href="([^"#]*report\.html)"', page)
    assert len(links) == 5
    assert all((tmp_path / link).is_file() for link in links)
    assert "2026-11-25/11-00-00_killed" in page


def test_a_sweep_and_the_index_show_the_options_in_which_runs_differ(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "one"
    for limit in (10, 20):
        job = evaluated(sweep / f"{limit}_job", image_set(limit, ["a", "b"]))
        record = json.loads((job / "result.json").read_text(encoding="utf-8"))
        record["overrides"] += [f"dataset.limit={limit}", "hydra.verbose=false"]
        record["config_digest"] = str(limit)
        record["dataset"]["split_size"] = 20
        (job / "result.json").write_text(json.dumps(record), encoding="utf-8")
    table.write(sweep)
    page = text(draw_sweep(sweep))
    assert page.count("dataset.limit=10") == page.count("dataset.limit=20") == 2, "in its bar and in its row"
    assert "hydra.verbose" not in page
    index = text(draw_index(tmp_path))
    assert "dataset.limit=10" in index
    assert "dataset.limit=20" in index
    assert "cifar100, 10 of 20 images</title>" in text(sweep / "10_job" / "report.html")
    assert "cifar100</title>" in text(sweep / "20_job" / "report.html")


def test_an_empty_folder_has_an_index_that_says_so(tmp_path: Path) -> None:
    assert "There are none yet" in text(draw_index(tmp_path))


def test_a_failure_in_drawing_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = evaluated(tmp_path / "run", image_set(40, ["a", "b"]))
    (folder / "confusion.csv").write_text("label,a,b\na,x,1\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert draw_run(folder) is None
        assert draw_run(tmp_path / "nowhere") is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert str(folder / PAGE) in caplog.messages[0]


def test_a_library_that_is_missing_costs_a_warning_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zeroshot.report.run", None)
    assert draw_run(evaluated(tmp_path / "run", image_set(40, ["a", "b"]))) is None
    assert "could not be drawn" in caplog.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(scheme: str) -> None:
    style = (Path(report.__file__).parent / "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0] + (blocks[1] if scheme == "dark" else "")))
    for front in ("ink", "quiet", "right", "wrong"):
        for ground in ("ground", "raised", "bad-ground") if front != "quiet" else ("ground", "raised"):
            brighter, darker = sorted((luminance(colours[front]), luminance(colours[ground])), reverse=True)
            assert (brighter + 0.05) / (darker + 0.05) >= 4.5, (front, ground)  # WCAG 2.2, 1.4.3


def luminance(colour: str) -> float:
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
