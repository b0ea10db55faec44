"""CIFAR-100 and CIFAR-10 are read right in every layout, and nothing broken is read at all."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data import cifar_files as files
from zeroshot.data import cifar
from zeroshot.data.image_set import ImageSet
from zeroshot.errors import ZeroshotError

REAL = Path(__file__).parents[3] / "shared" / "data" / "cifar-100-python"


def refusal(root: Path, split: str = "test", labels: str = "fine") -> str:
    """The one line that reading `root` ends in."""
    with pytest.raises(ZeroshotError) as caught:
        cifar.load(root, split, labels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewrite(root: Path, file: str, **changes: object) -> None:
    """Writes `test` or `meta` anew, with other values; None takes a key out."""
    values = (files.cifar100_meta() if file == "meta" else files.cifar100_batch()) | changes
    data = {key: value for key, value in values.items() if value is not None}
    (root / file).write_bytes(files.python3(data, 4))


@pytest.fixture
def python100(tmp_path: Path) -> Path:
    return files.write_cifar100_python(tmp_path / "cifar-100-python")


@pytest.fixture
def binary100(tmp_path: Path) -> Path:
    return files.write_cifar100_binary(tmp_path / "cifar-100-binary")


def is_upright(data: ImageSet, rows: files.Rows) -> bool:
    """Whether each pixel lies where CIFAR's description says: planes of colour, row by row."""
    pictures = np.stack([np.asarray(image) for image in data.images])
    places = np.random.default_rng(0).integers(0, [len(rows), 32, 32, 3], (500, 4))
    return pictures.shape == (len(rows), 32, 32, 3) and all(
        pictures[n, y, x, colour] == rows[n, colour * 1024 + y * 32 + x] for n, y, x, colour in places
    )


@pytest.mark.parametrize("write", [files.write_cifar100_python, files.write_cifar100_binary])
@pytest.mark.parametrize(("split", "count", "seed"), [("test", 12, 0), ("train", 24, 1)])
def test_cifar100_is_read_from_both_layouts(
    write: Callable[[Path], Path], split: str, count: int, seed: int, tmp_path: Path
) -> None:
    fine, coarse = (cifar.load(write(tmp_path), split, labels) for labels in ("fine", "coarse"))
    assert (fine.name, fine.split, fine.label_kind, coarse.label_kind) == ("cifar100", split, "fine", "coarse")
    assert fine.classes == tuple(files.FINE)
    assert coarse.classes == tuple(files.COARSE)
    assert fine.labels.tolist() == files.fine_labels(count)
    assert coarse.labels.tolist() == [label // 2 for label in files.fine_labels(count)]
    assert fine.indices.tolist() == list(range(count))
    assert is_upright(fine, files.rows(count, seed))
    assert is_upright(coarse, files.rows(count, seed))


@pytest.mark.parametrize("write", [files.write_cifar10_python, files.write_cifar10_binary])
def test_cifar10_is_read_from_both_layouts(write: Callable[[Path], Path], tmp_path: Path) -> None:
    test, train = (cifar.load(write(tmp_path), split) for split in ("test", "train"))
    assert (test.name, test.classes, len(test), len(train)) == ("cifar10", tuple(files.TEN), 8, 40)
    assert test.labels.tolist() == [0, 1, 2, 3] * 2
    assert is_upright(test, files.rows(8, 0))
    assert is_upright(train, np.concatenate([files.rows(8, seed) for seed in range(1, 6)]))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("byte_keys", [False, True])
def test_a_copy_saved_anew_by_python_3_is_the_same_set(python100: Path, protocol: int, byte_keys: bool) -> None:
    original = cifar.load(python100, "test")
    (python100 / "meta").write_bytes(files.python3(files.cifar100_meta(), protocol, byte_keys))
    labels = np.array(files.fine_labels(12)) if byte_keys else files.fine_labels(12)
    batch = files.cifar100_batch() | {"fine_labels": labels}
    (python100 / "test").write_bytes(files.python3(batch, protocol, byte_keys))
    again = cifar.load(python100, "test")
    assert again.fingerprint == original.fingerprint
    assert again.classes == original.classes
    assert again.labels.tolist() == original.labels.tolist()


def test_the_fingerprint_is_of_content_alone(tmp_path: Path) -> None:
    python = files.write_cifar100_python(tmp_path / "a")
    binary = files.write_cifar100_binary(tmp_path / "b")
    first = cifar.load(python, "test").fingerprint
    assert first == cifar.load(binary, "test", name="other").fingerprint
    assert first != cifar.load(python, "test", "coarse").fingerprint
    assert first != cifar.load(python, "train").fingerprint
    others = set()
    rewrite(python, "test", data=files.rows(12) ^ np.eye(12, 3072, dtype=np.uint8))
    others.add(cifar.load(python, "test").fingerprint)
    rewrite(python, "test", fine_labels=files.fine_labels(12)[::-1])
    others.add(cifar.load(python, "test").fingerprint)
    rewrite(python, "test")
    assert first == cifar.load(python, "test").fingerprint
    rewrite(python, "meta", fine_label_names=[*files.FINE[:-1], "renamed"])
    others.add(cifar.load(python, "test").fingerprint)
    assert len(others | {first}) == 4


def test_images_cannot_be_written_to(python100: Path) -> None:
    image = np.asarray(cifar.load(python100, "test").images[0])
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0, 0] = 1


def test_a_missing_folder_is_refused_with_the_key_and_with_what_works_at_once(tmp_path: Path) -> None:
    line = refusal(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in line
    assert "dataset.root" in line
    assert "experiment=quickstart" in line


def test_a_folder_without_cifar_is_refused_with_what_it_should_hold(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()  # a folder of that name is no CIFAR
    line = refusal(tmp_path)
    assert "test.bin" in line
    assert "dataset.root" in line
    assert "experiment=quickstart" in line


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "dataset.root" in refusal(tmp_path / "file")


def test_the_folder_above_is_refused_with_the_right_one(python100: Path) -> None:
    assert f"dataset.root={python100}" in refusal(python100.parent)


def test_a_folder_of_two_layouts_is_refused(python100: Path) -> None:
    files.write_cifar10_binary(python100)
    assert "files of CIFAR-100 (Python layout) and of CIFAR-10 (binary layout)" in refusal(python100)


def test_an_unknown_split_or_label_set_is_refused_with_the_known_ones(python100: Path, tmp_path: Path) -> None:
    assert refusal(python100, split="val").endswith("has train and test")
    assert "dataset.labels=fine or dataset.labels=coarse" in refusal(python100, labels="both")
    ten = files.write_cifar10_python(tmp_path / "ten")
    assert "has dataset.labels=fine alone" in refusal(ten, labels="coarse")


@pytest.mark.parametrize(
    ("write", "split", "file"),
    [
        (files.write_cifar100_python, "test", "meta"),
        (files.write_cifar100_python, "test", "test"),
        (files.write_cifar100_python, "train", "train"),
        (files.write_cifar100_binary, "test", "fine_label_names.txt"),
        (files.write_cifar100_binary, "test", "test.bin"),
        (files.write_cifar10_python, "train", "data_batch_3"),
        (files.write_cifar10_python, "train", "batches.meta"),
        (files.write_cifar10_binary, "train", "data_batch_5.bin"),
        (files.write_cifar10_binary, "test", "batches.meta.txt"),
    ],
)
def test_a_missing_empty_or_unreadable_file_is_named(
    write: Callable[[Path], Path], split: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path) / file
    whole = path.read_bytes()
    path.unlink()
    assert f"{path} is missing" in refusal(tmp_path, split)
    path.symlink_to("nowhere")
    assert f"{path} can't be read (No such file" in refusal(tmp_path, split)
    path.unlink()
    os.mkfifo(path)  # opened for reading, it would wait for ever
    assert f"{path} is not a file" in refusal(tmp_path, split)
    path.unlink()
    path.write_bytes(b"")
    assert str(path) in refusal(tmp_path, split)
    path.write_bytes(whole)
    with path.open("r+b") as huge:
        huge.truncate(1 << 40)
    assert f"{path} has 1,099,511,627,776 bytes" in refusal(tmp_path, split)
    os.truncate(path, len(whole))

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "can't be read (Permission denied)" in refusal(tmp_path, split)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": files.rows(11)}, "holds 12 labels for 11 images"),
        ({"fine_labels": files.fine_labels(13)}, "holds 13 labels for 12 images"),
        ({"fine_labels": [*files.fine_labels(11), 6]}, "image 11 has label 6, but meta names 6 classes"),
        ({"fine_labels": [-1, *files.fine_labels(11)]}, "image 0 has label -1"),
        ({"fine_labels": [1 << 70, *files.fine_labels(11)]}, "«fine_labels»: a label is not a class id"),
        ({"fine_labels": [1.0, *files.fine_labels(11)]}, "«fine_labels»: a label is not a class id"),
        ({"fine_labels": [True, *files.fine_labels(11)]}, "«fine_labels»: a label is not a class id"),
        ({"fine_labels": ["1", *files.fine_labels(11)]}, "«fine_labels»: a label is not a class id"),
        ({"fine_labels": np.zeros((12, 1), np.int64)}, "not a row of integers"),
        ({"fine_labels": np.full(12, 1 << 63, np.uint64)}, "image 0 has label"),
        ({"fine_labels": "012345"}, "«fine_labels»"),
        ({"fine_labels": None}, "has no «fine_labels»"),
        ({"fine_labels": [0, 1, 2, 4, 5] * 2 + [0, 1]}, "no image of class «fine_3»"),
        ({"fine_labels": [0, 1] * 6}, "no image of class «fine_2» nor of 3 more"),
        ({"data": None}, "has no «data»"),
        ({"data": files.rows(12)[:, :3071]}, "uint8 [12, 3071]"),
        ({"data": files.rows(12).reshape(12, 32, 32, 3)}, "uint8 [12, 32, 32, 3]"),
        ({"data": files.rows(12).astype(np.int64)}, "int64 [12, 3072]"),
        ({"data": files.rows(12).astype(object)}, "not one of integers"),
        ({"data": [1, 2, 3]}, "«data»: not an array"),
        ({"data": files.rows(0), "fine_labels": []}, "an array of 0 bytes"),
    ],
)
def test_a_test_file_that_does_not_fit_is_refused(python100: Path, changes: dict[str, object], said: str) -> None:
    rewrite(python100, "test", **changes)
    line = refusal(python100)
    assert str(python100 / "test") in line
    assert said in line


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([*files.FINE[:5], "fine_2"], "class names 3 and 6 are both «fine_2»"),
        ([*files.FINE[:5], " "], "class name 6 is empty"),
        ([*files.FINE[:5], "bell\a"], "class name 6, «bell\\x07», is not plain text"),
        ([*files.FINE[:5], 7], "is not text"),
        ([*files.FINE[:5], b"\xff"], "is not UTF-8"),
        (files.FINE[:1], "two or more classes, there is «fine_0»"),
        ([], "two or more classes, there is none"),
        (None, "no list «fine_label_names»"),
        ("abcdef", "no list «fine_label_names»"),
    ],
)
def test_a_meta_that_does_not_fit_is_refused(python100: Path, names: object, said: str) -> None:
    rewrite(python100, "meta", fine_label_names=names)
    line = refusal(python100)
    assert str(python100 / "meta") in line
    assert said in line


def test_a_binary_file_that_does_not_fit_is_refused(binary100: Path) -> None:
    path = binary100 / "test.bin"
    whole = path.read_bytes()
    for data, said in (
        (whole[:-1], "is not a whole number of rows of 3,074"),
        (whole + b"\0", "is not a whole number of rows of 3,074"),
        (b"", "holds no images"),
        (whole[:3074], "no image of class «fine_0»"),
        (b"\0\x06" + whole[2:], "image 0 has label 6, but fine_label_names.txt names 6 classes"),
    ):
        path.write_bytes(data)
        line = refusal(binary100)
        assert str(path) in line
        assert said in line


def test_cifar10_without_a_class_names_the_folder(tmp_path: Path) -> None:
    root = files.write_cifar10_python(tmp_path)
    meta = {"label_names": [*files.TEN, "ten_4"]}
    (root / "batches.meta").write_bytes(files.python2(meta))
    assert f"{root} holds no image of class «ten_4»" in refusal(root, "train")


@pytest.mark.parametrize("file", ["meta", "test"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_the_system_runs_nothing(python100: Path, file: str, protocol: int) -> None:
    mark = python100.parent / "mark"

    class Attack:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {mark}",)

    (python100 / file).write_bytes(pickle.dumps(Attack(), protocol))
    line = refusal(python100)
    assert str(python100 / file) in line
    assert "system" in line or "opcode" in line
    assert not mark.exists()


WHOLE = {"test": files.python2(files.cifar100_batch()), "meta": files.python2(files.cifar100_meta())}
PIXELS_AT = WHOLE["test"].index(files.rows(12).tobytes())
STRUCTURE = {  # where a flipped bit changes more than a pixel
    "test": [n for n in range(len(WHOLE["test"])) if not PIXELS_AT <= n < PIXELS_AT + 12 * 3072],
    "meta": list(range(len(WHOLE["meta"]))),
}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write_cifar100_python(tmp_path_factory.mktemp("damaged"))


def load_damaged(root: Path, file: str, data: bytes) -> ImageSet | None:
    """The set with one file's bytes replaced, None if it is refused; anything but a ZeroshotError fails the test."""
    (root / file).write_bytes(data)
    said = str(root / file)
    try:
        return cifar.load(root, "test")
    except ZeroshotError as error:
        said = str(error)
        return None
    finally:
        (root / file).write_bytes(WHOLE[file])
        assert str(root / file) in said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(file=st.sampled_from(["test", "meta"]), share=st.floats(0, 1, exclude_max=True))
def test_a_pickle_cut_anywhere_is_refused(workshop: Path, file: str, share: float) -> None:
    whole = WHOLE[file]
    assert load_damaged(workshop, file, whole[: int(share * len(whole))]) is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=600)
@given(data=st.data(), file=st.sampled_from(["test", "meta"]))
def test_flipped_bytes_give_a_valid_set_or_one_line(workshop: Path, data: st.DataObject, file: str) -> None:
    damaged = bytearray(WHOLE[file])
    flips = st.dictionaries(st.sampled_from(STRUCTURE[file]), st.integers(1, 255), min_size=1, max_size=4)
    for place, flip in data.draw(flips).items():
        damaged[place] ^= flip
    result = load_damaged(workshop, file, bytes(damaged))
    if result is not None:
        assert len(result) == len(result.images) == 12
        assert set(result.labels.tolist()) == set(range(len(result.classes)))
        assert len(set(result.classes)) == len(result.classes) >= 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(start=st.integers(0, 300), piece=st.binary(min_size=1, max_size=40), replaced=st.integers(0, 40))
def test_bytes_put_into_a_pickle_give_a_valid_set_or_one_line(
    workshop: Path, start: int, piece: bytes, replaced: int
) -> None:
    whole = WHOLE["test"]
    result = load_damaged(workshop, "test", whole[:start] + piece + whole[start + replaced :])
    assert result is None or set(result.labels.tolist()) == set(range(6))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real CIFAR-100 test set is not beside this checkout")
@pytest.mark.parametrize(("labels", "classes"), [("fine", 100), ("coarse", 20)])
def test_the_real_test_set_is_whole(labels: str, classes: int) -> None:
    data = cifar.load(REAL, "test", labels)
    assert len(data) == 10_000
    assert len(data.classes) == classes
    assert np.bincount(data.labels).tolist() == [10_000 // classes] * classes
    assert list(data.classes) == sorted(data.classes)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real CIFAR-100 test set is not beside this checkout")
def test_the_real_test_set_is_what_the_standard_library_reads() -> None:
    with (REAL / "test").open("rb") as file:
        batch = pickle.load(file, encoding="latin1")  # noqa: S301 - a file that we know
    fine, coarse = (cifar.load(REAL, "test", labels) for labels in ("fine", "coarse"))
    assert fine.labels.tolist() == batch["fine_labels"]
    assert coarse.labels.tolist() == batch["coarse_labels"]
    assert is_upright(fine, batch["data"])
    assert len(set(zip(batch["fine_labels"], coarse.labels.tolist(), strict=True))) == 100  # one coarse for each fine
    assert {fine.classes[n] for n in np.flatnonzero(np.bincount(fine.labels[coarse.labels == 0]))} == {
        *("beaver", "dolphin", "otter", "seal", "whale")
    }
