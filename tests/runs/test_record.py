"""Folders that are never shared, files that are whole, and figures that are set beside the same work alone."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zeroshot.config.named import known_models, prompt_templates
from zeroshot.data.image_set import ImageSet
from zeroshot.runs import evaluation_files
from zeroshot.runs import folder as run_folder
from zeroshot.runs import record as run_record
from zeroshot.scoring.ranking import Ranking


def a_set(labels: list[int], classes: tuple[str, ...]) -> ImageSet:
    count = len(labels)
    pictures = [np.zeros((2, 2, 3), np.uint8)] * count
    return ImageSet("toy", "test", "class", classes, np.array(labels), pictures, np.arange(count) * 10, "0" * 64)


def test_the_next_free_folder_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run_folder.claim(folder) == folder
    assert run_folder.lock(folder)  # it is this process's already
    (folder / run_folder.LOCK).write_text('{"host": "elsewhere", "pid": 1}')
    assert run_folder.claim(folder) == tmp_path / "run-2"
    run_folder.unlock(tmp_path / "run-2")
    run_record.write_record(tmp_path / "run-2", {"schema": 1})
    assert run_folder.claim(folder) == tmp_path / "run-3"


def test_processes_that_start_together_get_a_folder_each(tmp_path: Path) -> None:
    code = "import sys, pathlib; from zeroshot import results; print(run_folder.claim(pathlib.Path(sys.argv[1])).name)"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    names = sorted(process.communicate()[0].strip() for process in started)
    assert names == ["run", *(f"run-{number}" for number in range(2, 7))]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    run_folder.write(path, "old")
    with pytest.raises(UnicodeEncodeError):
        run_folder.write(path, "new \ud800")
    assert path.read_text() == "old"


def test_predictions_come_in_data_set_order_with_their_names(tmp_path: Path) -> None:
    ids = np.array([[1, 0, 2, 3, 4], [0, 1, 2, 3, 4]])
    scores = np.array([[0.51234567, 0.2, 0.1, 0.1, 0.0], [1.0, 0, 0, 0, 0]])
    classes = ("a,b", 'c "d"', "e", "f", "g")
    evaluation_files.write_evaluation(tmp_path, a_set([1, 2], classes), Ranking(ids, scores))
    lines = (tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "index,label,prediction,score,top5",
        '0,"c ""d""","c ""d""",0.512346,"c ""d""|a,b|e|f|g"',
        '10,e,"a,b",1.000000,"a,b|c ""d""|e|f|g"',
    ]
    per_class = (tmp_path / "per_class.csv").read_text(encoding="utf-8").splitlines()
    assert per_class[0] == "class,images,correct,recall,predicted"
    assert per_class[1:4] == ['"a,b",0,0,,1', '"c ""d""",1,1,1.000000,1', "e,1,0,0.000000,0"]
    confusion = (tmp_path / "confusion.csv").read_text(encoding="utf-8").splitlines()
    assert confusion[0] == 'label,"a,b","c ""d""",e,f,g'
    assert confusion[3] == "e,1,0,0,0,0"


def test_the_digest_tells_configs_apart_and_not_their_order() -> None:
    first = {"model": {"name": "a"}, "dataset": {"limit": 3}}
    assert run_record.digest(first) == run_record.digest(dict(reversed(first.items())))
    assert run_record.digest(first) != run_record.digest({**first, "dataset": {"limit": 4}})


def test_a_record_of_another_schema_or_a_broken_one_is_none(tmp_path: Path) -> None:
    assert run_record.read_record(tmp_path) is None
    for text in ("{", "[]", json.dumps({"schema": 99})):
        (tmp_path / run_folder.RECORD).write_text(text)
        assert run_record.read_record(tmp_path) is None


MODEL = {"name": "clip_vit_b_32", "interpolation": "bilinear", "weights": {"identity": "clip_vit_b_32"}}
DATA = {"name": "cifar100", "labels": "fine", "size": 10000}
PROMPT = {"templates": ["a picture of {}"], "class_names": "raw"}


def test_the_same_work_gets_its_published_figure_and_the_distance_from_it() -> None:
    found = run_record.references(MODEL, DATA, PROMPT, 0.57, prompt_templates)
    assert found == [{"source": "MindFormers (model card)", "top1": 0.5724, "delta": -0.0024}]


@pytest.mark.parametrize(
    ("model", "data", "prompt"),
    [
        ({**MODEL, "interpolation": "bicubic"}, DATA, PROMPT),
        ({**MODEL, "weights": {"identity": None}}, DATA, PROMPT),
        (MODEL, {**DATA, "labels": "coarse"}, PROMPT),
        (MODEL, {**DATA, "name": "cifar10"}, PROMPT),
        (MODEL, {**DATA, "size": 9999}, PROMPT),
        (MODEL, DATA, {**PROMPT, "class_names": "spaces"}),
        (MODEL, DATA, {**PROMPT, "templates": ["a picture of {}."]}),
    ],
)
def test_other_work_gets_no_figure(
    model: dict[str, object], data: dict[str, object], prompt: dict[str, object]
) -> None:
    assert run_record.references(model, data, prompt, 0.57, prompt_templates) == []


def test_published_figures_are_of_models_and_prompts_that_exist() -> None:
    for entry in run_record.published():
        assert entry["top1"].keys() <= known_models().keys()
        assert prompt_templates(entry["prompt"])
