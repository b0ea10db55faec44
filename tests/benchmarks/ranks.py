"""Times several ranks on this machine's cores beside one process on all of them, and prints the ratio.

    python -m tests.benchmarks.ranks [--ranks 2] [--model clip_vit_b_32] [--images 384] [--rounds 1] [--json FILE]

Both are the command as a user types it, one of them through msrun, with drawn weights and no feature store, and they
take turns. A first job compiles, the second is timed: its `image_s`, which is reading, encoding and gathering.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.numpy import save_file

from tests.benchmarks.machine import described
from tests.conftest import ROOT
from tests.drawn import draw
from tests.test_ranks import HOST, free_port
from zeroshot.config import architecture, known_models

WARM_UP = 64


def seconds(folder: Path, ranks: int, model: str, images: int) -> float:
    """What encoding took in the second job; `ranks` 0 is one process."""
    sizes = f"dataset.size={WARM_UP},{images}"
    weights = f"model.weights.path={folder / 'drawn.safetensors'}"
    arguments = [f"model={model}", weights, "dataset=shapes", "prompt=plain", "device=cpu", "stage.cache=false", sizes]
    sweep = Path(tempfile.mkdtemp(dir=folder))
    command = [sys.executable, "-m", "zeroshot"]
    if ranks:
        script = folder / "main.py"
        script.write_text("import sys\nfrom zeroshot.__main__ import main\nsys.exit(main())\n")
        command = [str(Path(sys.executable).with_name("msrun")), f"--worker_num={ranks}", f"--local_worker_num={ranks}"]
        command += [f"--master_addr={HOST}", f"--master_port={free_port()}", "--join=True", f"--log_dir={sweep}/log"]
        command += [str(script)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [*command, "-m", *arguments, f"hydra.sweep.dir={sweep / 'sweep'}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    record = json.loads((sweep / "sweep" / f"1_{model}_plain" / "result.json").read_text(encoding="utf-8"))
    assert record["timing"]["images_encoded"] == images
    assert record["device"]["world_size"] == (ranks or 1)
    return float(record["timing"]["image_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--model", default="clip_vit_b_32")
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rates: dict[str, list[float]] = {"one process": [], f"{given.ranks} ranks": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_file(draw(architecture(known_models()[given.model])), folder / "drawn.safetensors")
        for _ in range(given.rounds):
            for name, ranks in zip(rates, (0, given.ranks), strict=True):
                rates[name].append(round(given.images / seconds(folder, ranks, given.model, given.images), 2))
    best = {name: max(each) for name, each in rates.items()}
    ratio = round(best[f"{given.ranks} ranks"] / best["one process"], 3)
    for name, rate in best.items():
        print(f"{name:12} {rate:7.2f} images/s")  # noqa: T201
    print(f"{given.ranks} ranks are {ratio:.2f} times as fast as one process, {given.model}")  # noqa: T201
    if given.json:
        about = {"machine": described(), "model": given.model, "images": given.images}
        given.json.write_text(json.dumps({**about, "images_per_s": rates, "ratio": ratio}, indent=2) + "\n")


if __name__ == "__main__":
    main()
