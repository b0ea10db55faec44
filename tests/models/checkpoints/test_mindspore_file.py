"""MindSpore's checkpoints: pieces, scalars, checksums, and messages that are not what they should be."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.checkpoints.checkpoint_files import write_mindspore
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.mindspore_file import is_mindspore, read_mindspore
from zeroshot.models.checkpoints.stored_tensors import Array

VALUES = np.arange(12, dtype=np.float32)


def varint(number: int) -> bytes:
    return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])


def text(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def value(tag: str, dims: list[int], dtype: str, content: bytes) -> bytes:
    """One parameter of a checkpoint, or one piece of it."""
    shape = b"".join(varint(1 << 3) + varint(size) for size in dims)
    return text(1, text(1, tag.encode()) + text(2, shape + text(2, dtype.encode()) + text(3, content)))


def read(folder: Path, content: bytes) -> dict[str, Array]:
    path = folder / "a.ckpt"
    path.write_bytes(content)
    with path.open("rb") as file:
        return {name: stored.read() for name, stored in read_mindspore(file, path).tensors.items()}


def test_the_message_is_mindspores(tmp_path: Path) -> None:
    """What is written here by hand is what MindSpore writes."""
    path = write_mindspore(tmp_path / "a.ckpt", {"a.b": VALUES.reshape(3, 4), "n": np.arange(300), "s": VALUES[5]})
    expected = value("a.b", [3, 4], "Float32", VALUES.tobytes())
    expected += value("n", [300], "Int64", np.arange(300).tobytes()) + value("s", [], "Float32", VALUES[5].tobytes())
    assert path.read_bytes() == expected
    found = read(tmp_path, expected)
    assert np.array_equal(found["a.b"], VALUES.reshape(3, 4))
    assert np.array_equal(found["n"], np.arange(300))
    assert found["s"].shape == ()
    assert found["s"] == 5
    assert read(tmp_path, value("s", [0], "Float32", VALUES[5].tobytes()))["s"].shape == ()


def test_a_tensor_in_pieces_is_put_together(tmp_path: Path) -> None:
    """MindSpore cuts what is over 512 MB; each piece announces the whole shape."""
    content = VALUES.tobytes()
    pieces = [content[:20], content[20:24], content[24:]]
    message = value("z", [1], "Float32", content[:4])
    message += b"".join(value("a", [3, 4], "Float32", piece) for piece in pieces) + value(
        "b", [], "Float32", content[:4]
    )
    assert np.array_equal(read(tmp_path, message)["a"], VALUES.reshape(3, 4))
    with pytest.raises(ZeroshotError, match="'a' has 44 bytes, which is not"):
        read(tmp_path, message.replace(value("a", [3, 4], "Float32", pieces[1]), b""))


@given(number=st.integers(0, 2**63 - 1))
def test_numbers_of_every_length_are_read(number: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    with pytest.raises(ZeroshotError, match=rf"is not \[{number}, 7\] of float32|is not \[\] of float32"):
        read(folder, value("a", [number, 7], "Float32", b"12345"))


def test_a_checksum_that_fits_is_read_and_another_is_not(tmp_path: Path) -> None:
    message = value("a", [12], "Float32", VALUES.tobytes())
    trailer = b"crc_num" + zlib.crc32(message).to_bytes(10, "big")
    assert np.array_equal(read(tmp_path, message + trailer)["a"], VALUES)
    with pytest.raises(ZeroshotError, match="its CRC does not fit"):
        read(tmp_path, message.replace(b"a", b"b", 1) + trailer)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            value("a", [1], "Float32", b"1234") + value("b", [], "Int8", b"1") + value("a", [1], "Float32", b"1234"),
            "twice",
        ),
        (value("a", [2], "Float32", b"1234") + value("a", [3], "Float32", b"1234"), "'a' occurs twice"),
        (value("a", [1], "str", b"1234"), "'a' is str, a dtype that is not read"),
        (value("a", [1], "Int4", b"1234"), "'a' is int4"),
        (value("a", [2], "Float32", b"1234"), r"'a' has 4 bytes, which is not \[2\]"),
        (value("a", [1] * 17, "Float32", b"1234"), "field 1 in the tensor 'a'"),
        (value("a" * 2000, [1], "Float32", b"1234"), "a name of 2000 bytes"),
        (text(1, text(1, b"\xff") + text(2, b"")), "damaged"),
        (text(1, text(1, b"a")), "without name or value"),
        (text(1, text(2, text(2, b"Int8") + text(3, b"1"))), "without name or value"),
        (text(1, text(1, b"a") + text(2, text(2, b"Int8"))), "'a' without type or content"),
        (text(1, text(1, b"a") + text(3, b"")), "field 3 in the parameter 'a'"),
        (text(2, b"x"), "field 2 where a parameter belongs"),
        (b"\x0d1234", "wire type 5"),
        (b"\x0a", "without an end"),
        (b"\x0a\x7fabc", "127 bytes are announced where 3 are left"),
        (b"\x0a" + b"\xff" * 12, "without an end"),
    ],
)
def test_another_message_is_refused(message: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ZeroshotError, match=rf"a\.ckpt: .*{said}"):
        read(tmp_path, message)


def test_a_checkpoint_is_known_by_its_first_bytes() -> None:
    for size in (4, 40_000):
        assert is_mindspore(value("a", [size], "Int8", bytes(size))[:512])
    for start in (b"", b"\x0a", b"\n\n", b"\nhello\n", b"\x0a" + b"\xff" * 9 + b"\x0a", b"PK\x03\x04\x0a\x0a", b"{}"):
        assert not is_mindspore(start)
