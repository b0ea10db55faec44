"""Makes the pictures in docs/: pages of real runs of the embedded model, as a browser shows them.

python -m tests.report.make_screenshots
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium.webdriver.common.by import By

from tests.report.browser import Browser, browser
from zeroshot.report import draw_index

ROOT = Path(__file__).parents[2]
TINY = ("model=clip_tiny", "dataset=shapes")
PROMPTS = "prompt=plain,photo,mindformers,openai_cifar,openai_imagenet_7,openai_imagenet"
WIDTH = 1200
TALLEST = 1600
LARGEST = 290_000  # bytes


def zeroshot(folder: Path, *arguments: str) -> None:
    """Runs the command in a folder, whatever it comes to."""
    command = [sys.executable, "-m", "zeroshot", *arguments]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)


def newest(root: Path, pattern: str) -> Path:
    """The page of the last folder that a pattern finds."""
    return sorted(root.glob(pattern))[-1]


def main() -> None:
    """Runs, then pictures."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "outputs"
        zeroshot(Path(place), "-m", *TINY, PROMPTS)
        zeroshot(Path(place), *TINY, "prompt=photo", "dataset.labels=coarse")
        zeroshot(Path(place), *TINY, "prompt=photo", "model.weights.path=elsewhere.safetensors")
        zeroshot(Path(place), "experiment=quickstart_predict")
        prediction = newest(root, "????-*/*/report.html")
        zeroshot(Path(place), "experiment=quickstart")
        draw_index(root)
        pages = {
            "run": newest(root, "????-*/*/report.html"),
            "prediction": prediction,
            "sweep": newest(root, "sweeps/*/report.html"),
            "index": root / "index.html",
        }
        (ROOT / "docs").mkdir(exist_ok=True)
        with browser() as opened:
            for scheme in ("light", "dark"):
                for name, page in pages.items():
                    opened.show(page, WIDTH, scheme == "dark")
                    hide(opened, "#record")  # it tells where this machine's files lie
                    take(opened, f"{name}-{scheme}")
                opened.show(pages["run"], WIDTH, scheme == "dark")
                hide(opened, "section:not(#confusion), nav, footer")
                canvas = opened.find_element(By.ID, "cells")
                canvas.send_keys("n")
                opened.execute_script("arguments[0].blur()", canvas)
                take(opened, f"confusion-{scheme}")


def hide(opened: Browser, selector: str) -> None:
    """Takes parts out of the page."""
    opened.execute_script("document.querySelectorAll(arguments[0]).forEach(e => { e.hidden = true; })", selector)


def take(opened: Browser, name: str) -> None:
    """Writes a picture of the page's beginning, with 256 colours if it would be large."""
    opened.execute_script("window.scrollTo(0, 0)")
    path = ROOT / "docs" / f"{name}.png"
    opened.picture(path, min(TALLEST, opened.find_element(By.TAG_NAME, "body").size["height"]))
    image = Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
    image.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
