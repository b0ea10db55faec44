"""Draws the pictures that `experiment=quickstart_predict` classifies: `python -m experiments.clip_tiny.pictures`.

Each is one image of the shapes generator at three times its side, by a seed of its own; two of the four pairs are ones
that the model was never shown.
"""

from pathlib import Path

from PIL import Image

from zeroshot.data.shapes import FINE, draw

FOLDER = Path(__file__).parents[2] / "zeroshot/data/pictures"
SEEDS = {"red circle": 36, "blue star": 34, "yellow heart": 40, "white hourglass": 37}
SIDE = 96


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, seed in SEEDS.items():
        pixels = draw([FINE.index(name)], seed, SIDE)[0]
        Image.fromarray(pixels).save(FOLDER / f"{name.replace(' ', '_')}.png", optimize=True)


if __name__ == "__main__":
    main()
