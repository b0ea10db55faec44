"""Weights for the tests: a network in which every parameter is drawn, so that a dropped bias or gain shows."""

from zeroshot.models.architecture import Architecture
from zeroshot.models.drawn import draw as draw

SMALL = Architecture(
    embed_dim=64, image_size=32, patch_size=8, vision_width=128, vision_layers=3, text_width=64, text_layers=2
)
