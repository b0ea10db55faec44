"""Files that are not the weights of `SMALL`, each broken in one way: written into a folder, and what is said of it."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.drawn import SMALL, draw
from tests.models.checkpoints.checkpoint_files import (
    Call,
    Global,
    TorchFile,
    huggingface_names,
    mindformers_names,
    storage,
    tensor,
    write_mindspore,
    write_safetensors,
    write_script,
    write_torch,
)

OTHER = replace(SMALL, image_size=64)
KNOWN = {"small": SMALL, "other": OTHER}
MARKER = "the-pickle-ran"  # what a hostile pickle would make in the folder it is run from

Tensors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Broken:
    """`write` makes the file in an empty folder and returns what to load; `said` is a pattern of the error's line."""

    name: str
    write: Callable[[Path], Path]
    said: str = ": "
    by_mode: bool = False  # broken by its mode alone, which root does not feel

    def __str__(self) -> str:
        return self.name


@cache
def drawn() -> Tensors:
    return draw(SMALL)


def changed(**changes: NDArray[np.float32] | None) -> Tensors:
    """The drawn weights with some tensors replaced, or left out where None is given."""
    tensors = {**drawn(), **changes}
    return {name: values for name, values in tensors.items() if values is not None}


def poisoned(value: float) -> Tensors:
    """The drawn weights with one element that is no number."""
    values = drawn()["ln_final.weight"].copy()
    values[7] = value
    return changed(**{"ln_final.weight": values})


def file(name: str, content: bytes) -> Callable[[Path], Path]:
    """A file of these bytes."""

    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def cut(write: Callable[[Path], Path], twentieths: int) -> Callable[[Path], Path]:
    """A sound file that ends after some twentieths of its bytes."""

    def cut_short(folder: Path) -> Path:
        path = write(folder)
        os.truncate(path, path.stat().st_size * twentieths // 20)
        return path

    return cut_short


def flipped(write: Callable[[Path], Path], place: Callable[[bytes], int]) -> Callable[[Path], Path]:
    """A sound file with one byte changed."""

    def flip(folder: Path) -> Path:
        path = write(folder)
        content = bytearray(path.read_bytes())
        content[place(bytes(content))] ^= 0x55
        path.write_bytes(content)
        return path

    return flip


def twentieth(count: int) -> Callable[[bytes], int]:
    return lambda whole: len(whole) * count // 20


def torch_file(folder: Path) -> Path:
    return write_torch(folder / "weights.pt", drawn())


def script_file(folder: Path) -> Path:
    return write_script(folder / "weights.pt", drawn())


def safetensors_file(folder: Path) -> Path:
    return write_safetensors(folder / "model.safetensors", drawn())


def mindspore_file(folder: Path) -> Path:
    return write_mindspore(folder / "weights.ckpt", mindformers_names(drawn()))


def checked_mindspore_file(folder: Path) -> Path:
    return write_mindspore(folder / "weights.ckpt", mindformers_names(drawn()), crc=True)


def with_bad_tensor(count: int, offset: int, size: int, step: int, key: str = "500") -> Callable[[Path], Path]:
    """A torch file in which ln_final's gain lies so in a storage of 64 that announces `count` elements."""

    def write(folder: Path) -> Path:
        made = TorchFile()
        tree = {name: made.add(values) for name, values in drawn().items()}
        made.storages["500"] = bytes(4 * 64)
        bad = tensor(storage(key, "float32", count), offset, (size,), (step,))
        return made.write(folder / "weights.pt", {**tree, "ln_final.weight": bad})

    return write


def hostile(payload: object) -> Callable[[Path], Path]:
    """Sound weights, and beside them something that a full unpickler would run."""

    def write(folder: Path) -> Path:
        return write_torch(folder / "weights.pt", drawn(), extra=payload)

    return write


def packed(folder: Path) -> Path:
    """Storages that are packed, as zips of other tools are."""
    source = write_torch(folder / "source.pt", drawn())
    path = folder / "weights.pt"
    with (
        zipfile.ZipFile(source) as stored,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))
    source.unlink()
    return path


def pickle_bomb(folder: Path) -> Path:
    """A pickle of 68 MB in a zip of 68 kB."""
    path = folder / "weights.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * 34_000_000 + b"N.")
    return path


def twice_named(folder: Path) -> Path:
    """A storage that is there twice, so that readers may differ about which counts."""
    path = torch_file(folder)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("archive/data/0")
        archive.writestr("placeholder/data/0", b"x")
        archive.infolist()[-1].filename = info.filename
    return path


def shard_outside(folder: Path) -> Path:
    """An index that names a shard in another folder."""
    write_safetensors(folder / "part.safetensors", drawn())
    (folder / "model").mkdir()
    index = {"weight_map": dict.fromkeys(drawn(), "../part.safetensors")}
    (folder / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder / "model"


def list_of_shards(folder: Path) -> Path:
    index = {"weight_map": {name: ["part.safetensors"] for name in drawn()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def missing_shard(folder: Path) -> Path:
    index = {"weight_map": dict.fromkeys(drawn(), "model-00001-of-00002.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def folder_without_weights(folder: Path) -> Path:
    (folder / "config.json").write_text("{}")
    return folder


def unreadable(folder: Path) -> Path:
    path = safetensors_file(folder)
    path.chmod(0)
    return path


def legacy_tar(folder: Path) -> Path:
    """Torch's first format."""
    path = folder / "weights.pt"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    return path


def swapped(write: Callable[[Path, Tensors], Path]) -> Callable[[Path], Path]:
    """The weights of another size."""
    return lambda folder: write(folder, draw(OTHER))


def other_zip(folder: Path) -> Path:
    np.savez(folder / "a.npz", a=np.zeros(3))
    return folder / "a.npz"


def without_a_key_bias(folder: Path) -> Path:
    kept = {
        name: values for name, values in huggingface_names(drawn()).items() if "0.self_attn.k_proj.bias" not in name
    }
    return write_safetensors(folder / "a", kept)


LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
HEADER = struct.pack("<Q", 1000) + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
PAGE = b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head></html>"
MARK = (f"touch {MARKER}",)

BROKEN = [
    *[Broken(f"torch cut at {n}/20", cut(torch_file, n)) for n in range(20)],
    *[Broken(f"script cut at {n}/20", cut(script_file, n)) for n in range(0, 20, 5)],
    *[Broken(f"safetensors cut at {n}/20", cut(safetensors_file, n)) for n in range(20)],
    *[Broken(f"ckpt cut at {n}/20", cut(mindspore_file, n)) for n in range(20)],
    *[Broken(f"torch flipped at {n}/20", flipped(torch_file, twentieth(n))) for n in range(1, 20)],
    *[Broken(f"ckpt with a CRC flipped at {n}/20", flipped(checked_mindspore_file, twentieth(n))) for n in range(20)],
    Broken("safetensors: length flipped", flipped(safetensors_file, lambda _: 1)),
    Broken("safetensors: name flipped", flipped(safetensors_file, lambda whole: whole.index(b"ln_final")), "missing"),
    Broken("safetensors: shape flipped", flipped(safetensors_file, lambda whole: whole.index(b'"shape"') + 9)),
    Broken("safetensors: dtype flipped", flipped(safetensors_file, lambda whole: whole.index(b'"F32"') + 1)),
    Broken("safetensors: a header longer than the file", file("model.safetensors", HEADER), "cut short or damaged"),
    Broken("torch: storage of another size", with_bad_tensor(65, 0, 64, 1), "256 bytes where its tensors need 260"),
    Broken("torch: storage key with ../", with_bad_tensor(64, 0, 64, 1, key="../500"), r"storage key '\.\./500'"),
    Broken("torch: storage key with a slash", with_bad_tensor(64, 0, 64, 1, key="/etc/passwd"), "storage key"),
    Broken("torch: storage missing", with_bad_tensor(64, 0, 64, 1, key="9999"), "storage 9999 is missing"),
    Broken("torch: past its storage", with_bad_tensor(64, 1, 64, 1), "reaches element 64"),
    Broken("torch: stride past it", with_bad_tensor(64, 0, 64, 2), "reaches element 126"),
    Broken("torch: negative stride", with_bad_tensor(64, 63, 64, -1), "an invalid shape"),
    Broken("torch: negative offset", with_bad_tensor(64, -1, 64, 1), "an invalid shape"),
    Broken("torch: packed storages", packed, "compressed"),
    Broken("torch: pickle bomb", pickle_bomb, "unpacks to"),
    Broken("torch: a member twice", twice_named, "two members"),
    Broken("torch: os.system", hostile(Call(Global("os", "system"), MARK)), r"needs 'os\.system'"),
    Broken("torch: posix.system", hostile(Call(Global("posix", "system"), MARK)), r"needs 'posix\.system'"),
    Broken("torch: eval", hostile(Call(Global("builtins", "eval"), (f"open('{MARKER}', 'w')",))), r"'builtins\.eval'"),
    Broken(
        "torch: a module of ours",
        hostile(Global("zeroshot.downloads.fetch", "fetch")),
        r"'zeroshot\.downloads\.fetch\.fetch'",
    ),
    Broken("torch: torch.load", hostile(Call(Global("torch", "load"), ("x",))), r"'torch\.load'"),
    Broken("torch: a whole model", hostile(Global("open_clip.model", "CLIP")), r"'open_clip\.model\.CLIP'"),
    Broken(
        "torch: text among the tensors", lambda folder: write_torch(folder / "a.pt", drawn(), note="hi"), "not tensors"
    ),
    Broken("torch: a list", lambda folder: TorchFile().write(folder / "a.pt", [1, 2]), "without a state dict"),
    Broken("torch: legacy pickle", file("weights.pt", LEGACY), r"before version 1\.6.*torch\.load\('weights\.pt'"),
    Broken("torch: legacy tar", legacy_tar, r"before version 1\.6"),
    Broken(
        "NaN in safetensors", lambda folder: write_safetensors(folder / "a", poisoned(np.nan)), r"NaN.*ln_final\.weight"
    ),
    Broken("infinity in torch", lambda folder: write_torch(folder / "a.pt", poisoned(-np.inf)), r"infinity.*ln_final"),
    Broken(
        "NaN in ckpt", lambda folder: write_mindspore(folder / "a.ckpt", mindformers_names(poisoned(np.nan))), "NaN"
    ),
    Broken(
        "missing", lambda folder: write_torch(folder / "a.pt", changed(logit_scale=None)), r"missing: .*logit_scale"
    ),
    Broken(
        "missing part, in Hugging Face's names",
        without_a_key_bias,
        r"missing: 2 tensors \(vision_model\.encoder\.layers\.0\.self_attn\.k_proj\.bias",
    ),
    Broken(
        "extra",
        lambda folder: write_torch(folder / "a.pt", changed(head=np.zeros(3, np.float32))),
        r"1 tensor \(head\)",
    ),
    Broken(
        "of another shape",
        lambda folder: write_safetensors(folder / "a", changed(text_projection=np.zeros((64, 63), np.float32))),
        r"text_projection \[64, 63\] for \[64, 64\]",
    ),
    Broken(
        "another size", swapped(lambda folder, other: write_safetensors(folder / "a", other)), "positional_embedding"
    ),
    Broken("another size, torch", swapped(lambda folder, other: write_script(folder / "a.pt", other)), "positional"),
    Broken(
        "not a CLIP",
        lambda folder: write_torch(folder / "a.pt", {"fc.weight": np.zeros((3, 4))}),
        "none of its tensors",
    ),
    Broken("empty", file("weights.pt", b""), "empty"),
    Broken("a web page", file("ViT-B-32.pt", PAGE), "web page"),
    Broken(
        "a pointer of Git LFS", file("a.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs"
    ),
    Broken("a text", file("a.safetensors", b"\nhello\n" * 100), "not a format"),
    Broken("packed with gzip", file("a.pt.gz", gzip.compress(b"x" * 1000)), "not a format"),
    Broken("another zip", other_zip, "did not write"),
    Broken("a path that is not there", lambda folder: folder / "no.pt", "no such file"),
    Broken("folder without weights", folder_without_weights, "no weights in this folder"),
    Broken("shard outside the folder", shard_outside, "does not name files beside it"),
    Broken("list of shards", list_of_shards, "does not name files beside it"),
    Broken("shard missing", missing_shard, "is missing beside it"),
    Broken("index without a map", file("model.safetensors.index.json", b'{"metadata": {}}'), "weight_map"),
    Broken("without read permission", unreadable, "[Pp]ermission", by_mode=True),
]
