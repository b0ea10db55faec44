"""Images on their way to a worker."""

from pathlib import Path

import numpy as np
from PIL import Image

from zeroshot.data.image_source import load_image
from zeroshot.devices.transfer import packed, unpacked


def test_an_open_file_arrives_whole_wherever_it_was_read_to(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), "teal").save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        file.read()
        there = unpacked(packed([file], same_host=True, as_bytes=False))
        assert there is not None
        assert np.array_equal(np.asarray(load_image(there[0])), np.asarray(load_image(file)))
