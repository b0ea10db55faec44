"""The sizes of a network and the tensors that they imply, in plain numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the command line reads sizes without numpy
    import numpy as np
    from numpy.typing import NDArray

# Of the pixels that OpenAI trained on, red, green, blue, as fractions of full intensity (openai/CLIP, `clip/clip.py`).
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
HEAD_WIDTH = 64  # unless an architecture says otherwise
MLP_RATIO = 4
VOCABULARY = 49408  # of OpenAI's CLIP
CONTEXT_LENGTH = 77
BERT_VOCABULARY = 21128  # of Chinese-CLIP, that of bert-base-chinese
BERT_POSITIONS = 512  # rows of Chinese-CLIP's table of positions, of which the first `context_length` are used
BERT_TOKEN_TYPES = 2  # of which the first is used

Tensors = Mapping[str, "NDArray[np.float32]"]  # weights by their names here: openai/CLIP's, and more in other families
Family = Literal["clip", "chinese_clip", "siglip"]
# Of the MLPs: x · sigmoid(1.702 x), the exact GELU, or its approximation by tanh.
Activation = Literal["quick_gelu", "gelu", "gelu_tanh"]
Score = Literal["softmax", "sigmoid"]  # over all labels, or of each label for itself


@dataclass(frozen=True)
class Architecture:
    """The sizes of one network of two vision and text transformers.

    `family` says what is built of them:

    - "clip" (Radford et al. 2021, section 2.4): the image tower has a class token and a norm before its blocks, the
      text tower is causal and read at the end of the text; both end in a projection.
    - "chinese_clip" (Yang et al. 2022): the same image tower beside a BERT, which is read at its first token.
    - "siglip" (Zhai et al. 2023): the image tower has neither class token nor projection and is pooled by an attention
      head, the text tower is not causal and read at its last position; scores have a bias.

    `image_size` and `patch_size` are in pixels, `context_length` in tokens. Heads are 64 wide and an MLP is four times
    as wide as its tower where `vision_heads`, `text_heads`, `vision_mlp_width` and `text_mlp_width` are 0; they hold
    the resolved numbers afterwards.
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
    text_mlp_width: int = 0
    vocabulary: int = VOCABULARY
    context_length: int = CONTEXT_LENGTH
    family: Family = "clip"

    def __post_init__(self) -> None:
        resolved = {
            "vision_heads": self.vision_heads or self.vision_width // HEAD_WIDTH,
            "text_heads": self.text_heads or self.text_width // HEAD_WIDTH,
            "vision_mlp_width": self.vision_mlp_width or MLP_RATIO * self.vision_width,
            "text_mlp_width": self.text_mlp_width or MLP_RATIO * self.text_width,
        }
        for name, number in resolved.items():
            object.__setattr__(self, name, number)

    @property
    def patches(self) -> int:
        """Number of patches of an image; pixels that do not fill one are not seen."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def image_positions(self) -> int:
        """Length of the sequence that the image tower computes: the patches, and the class token if there is one."""
        return self.patches + (self.family != "siglip")

    @property
    def text_positions(self) -> int:
        """Rows of the text tower's table of positions."""
        return BERT_POSITIONS if self.family == "chinese_clip" else self.context_length

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the network with its shape, by its name in openai/CLIP where it is there."""
        bias: dict[str, tuple[int, ...]] = {"logit_bias": ()} if self.family == "siglip" else {}
        return {**self._image_shapes(), **self._text_shapes(), "logit_scale": (), **bias}

    def _image_shapes(self) -> dict[str, tuple[int, ...]]:
        width, siglip = self.vision_width, self.family == "siglip"
        first = {"visual.conv1.bias": (width,)} if siglip else {"visual.class_embedding": (width,)}
        pool = {
            "visual.pool.probe": (1, 1, width),
            **_attention("visual.pool.attn", width),
            **_layer_norm("visual.pool.ln_2", width),
            **_mlp("visual.pool.mlp", width, self.vision_mlp_width),
        }
        return {
            **first,
            "visual.positional_embedding": (self.image_positions, width),
            "visual.conv1.weight": (width, 3, self.patch_size, self.patch_size),
            **({} if siglip else _layer_norm("visual.ln_pre", width)),
            **_blocks("visual.transformer", width, self.vision_layers, self.vision_mlp_width),
            **_layer_norm("visual.ln_post", width),
            **(pool if siglip else {"visual.proj": (width, self.embed_dim)}),
        }

    def _text_shapes(self) -> dict[str, tuple[int, ...]]:
        width = self.text_width
        bert = {"token_type_embedding": (BERT_TOKEN_TYPES, width), **_layer_norm("ln_embedding", width)}
        head = {"head.weight": (self.embed_dim, width), "head.bias": (self.embed_dim,)}
        return {
            "token_embedding.weight": (self.vocabulary, width),
            "positional_embedding": (self.text_positions, width),
            **(bert if self.family == "chinese_clip" else {}),
            **_blocks("transformer", width, self.text_layers, self.text_mlp_width),
            **({} if self.family == "chinese_clip" else _layer_norm("ln_final", width)),
            **(head if self.family == "siglip" else {"text_projection": (width, self.embed_dim)}),
        }


def _layer_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _attention(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.in_proj_weight": (3 * width, width),
        f"{name}.in_proj_bias": (3 * width,),
        f"{name}.out_proj.weight": (width, width),
        f"{name}.out_proj.bias": (width,),
    }


def _mlp(name: str, width: int, mlp_width: int) -> dict[str, tuple[int, ...]]:
    return {
        f"{name}.c_fc.weight": (mlp_width, width),
        f"{name}.c_fc.bias": (mlp_width,),
        f"{name}.c_proj.weight": (width, mlp_width),
        f"{name}.c_proj.bias": (width,),
    }


def _blocks(tower: str, width: int, layers: int, mlp_width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        block = f"{tower}.resblocks.{layer}"
        shapes |= {
            **_layer_norm(f"{block}.ln_1", width),
            **_attention(f"{block}.attn", width),
            **_layer_norm(f"{block}.ln_2", width),
            **_mlp(f"{block}.mlp", width, mlp_width),
        }
    return shapes
