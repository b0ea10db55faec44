"""`stage=eval` on images of which some can't be read."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import Command
from zeroshot.config.compose import compose
from zeroshot.config.validate import checked
from zeroshot.data.image_source import load_image
from zeroshot.stages import evaluate


def test_the_page_has_the_pictures_of_its_rows_where_files_were_skipped(tmp_path: Path) -> None:
    for path, colour in (("a/1", "red"), ("a/3", "lime"), ("b/1", "blue")):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{path}.png")
    (tmp_path / "a" / "2.png").write_bytes(b"broken")
    choices = {"model": "clip_tiny", "dataset": "image_folder", "prompt": "plain", "device": "cpu", "stage": "eval"}
    values = {"dataset.root": str(tmp_path), "dataset.unreadable": "skip", "stage.cache": False}
    result = evaluate.run(checked(compose(choices, values)))
    assert result.images is not None
    shown = [np.asarray(load_image(each))[0, 0].tolist() for each in result.images]
    assert shown == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_a_folder_whose_name_is_not_utf_8_is_one_line_and_a_record(zeroshot: Command, tmp_path: Path) -> None:
    given = ("model=clip_tiny", "dataset=image_folder", 'dataset.root="caf\udce9"', "hydra.run.dir=out")
    done = zeroshot(*given)
    assert done.returncode == 1
    assert "can't be read" in done.stderr
    assert "bug" not in done.stderr
    assert (tmp_path / "out" / "result.json").exists()
