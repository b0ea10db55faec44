"""Ray's folder, without Ray."""

import tempfile
from pathlib import Path

import pytest

from zeroshot.devices import cluster


@pytest.mark.parametrize("length", [20, 22, 31, 40, 41, 90])
def test_rays_sockets_have_short_enough_names_below_any_temporary_folder(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="x" * (length - 13)) as given:
        assert len(given) == length
        monkeypatch.setattr(tempfile, "tempdir", given)
        folder = cluster._temporary_folder()
        assert len(f"{folder}/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store") <= 107
        assert (Path(folder).parent == Path(given)) == (length <= 21), "the given folder is used where it can be"
