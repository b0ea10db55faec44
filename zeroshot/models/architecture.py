"""The sizes of a CLIP and the tensors that they imply, in plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the command line reads sizes without numpy
    import numpy as np
    from numpy.typing import NDArray

HEAD_WIDTH = 64  # unless an architecture says otherwise
MLP_RATIO = 4
VOCABULARY = 49408
CONTEXT_LENGTH = 77

Tensors = Mapping[str, "NDArray[np.float32]"]  # weights by their names in openai/CLIP
Activation = Literal["quick_gelu", "gelu"]  # of the MLPs: x · sigmoid(1.702 x), or the exact GELU


@dataclass(frozen=True)
class Architecture:
    """The sizes of one CLIP with a vision transformer (Radford et al. 2021, section 2.4).

    `image_size` and `patch_size` are in pixels. Heads are 64 wide and the MLP is four times as wide as its tower where
    `vision_heads`, `text_heads` and `vision_mlp_width` are 0; they hold the resolved numbers afterwards.
    """

    embed_dim: int
    image_size: int
    patch_size: int
    vision_width: int
    vision_layers: int
    text_width: int
    text_layers: int
    vision_heads: int = 0
    text_heads: int = 0
    vision_mlp_width: int = 0

    def __post_init__(self) -> None:
        resolved = {
            "vision_heads": self.vision_heads or self.vision_width // HEAD_WIDTH,
            "text_heads": self.text_heads or self.text_width // HEAD_WIDTH,
            "vision_mlp_width": self.vision_mlp_width or MLP_RATIO * self.vision_width,
        }
        for name, number in resolved.items():
            object.__setattr__(self, name, number)

    @property
    def patches(self) -> int:
        """Number of patches of an image."""
        return (self.image_size // self.patch_size) ** 2

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the network by its name in openai/CLIP, with its shape."""
        vision, text = self.vision_width, self.text_width
        return {
            "visual.class_embedding": (vision,),
            "visual.positional_embedding": (self.patches + 1, vision),
            "visual.conv1.weight": (vision, 3, self.patch_size, self.patch_size),
            **_layer_norm("visual.ln_pre", vision),
            **_blocks("visual.transformer", vision, self.vision_layers, self.vision_mlp_width),
            **_layer_norm("visual.ln_post", vision),
            "visual.proj": (vision, self.embed_dim),
            "token_embedding.weight": (VOCABULARY, text),
            "positional_embedding": (CONTEXT_LENGTH, text),
            **_blocks("transformer", text, self.text_layers, MLP_RATIO * text),
            **_layer_norm("ln_final", text),
            "text_projection": (text, self.embed_dim),
            "logit_scale": (),
        }


def _layer_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _blocks(tower: str, width: int, layers: int, mlp_width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        block = f"{tower}.resblocks.{layer}"
        shapes |= {
            **_layer_norm(f"{block}.ln_1", width),
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
            f"{block}.attn.out_proj.weight": (width, width),
            f"{block}.attn.out_proj.bias": (width,),
            **_layer_norm(f"{block}.ln_2", width),
            f"{block}.mlp.c_fc.weight": (mlp_width, width),
            f"{block}.mlp.c_fc.bias": (mlp_width,),
            f"{block}.mlp.c_proj.weight": (width, mlp_width),
            f"{block}.mlp.c_proj.bias": (width,),
        }
    return shapes
