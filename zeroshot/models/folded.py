"""Weights with linear operations folded into the matrices, as the CPU's quick form of the towers takes them."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from zeroshot.models.architecture import Activation, Architecture, Tensors
from zeroshot.models.preprocess import Preprocessing
from zeroshot.models.towers import QUICK_GELU_SLOPE

Array = NDArray[np.float32]

# the bias of a projection into which the norm before it is folded: by its name, the projection and the norm
PROJECTION_NORMS = {
    "visual.proj_bias": ("visual.proj", "visual.ln_post"),
    "text_projection_bias": ("text_projection", "ln_final"),
}


class Folded(Mapping[str, Array]):
    """The tensors of a checkpoint with linear operations folded into the matrices; each is computed when asked for.

    Exact but for rounding: pixel normalisation goes into the patch embedding, the class embedding into its position,
    gain and bias of a norm into the matrix behind it, 1/√(head width) into the queries, the bias of the values into the
    bias of the output projection, and the slope of QuickGELU into the matrices around it.
    """

    def __init__(
        self, architecture: Architecture, tensors: Tensors, preprocessing: Preprocessing, activation: Activation
    ) -> None:
        self._architecture, self._tensors = architecture, tensors
        self._mean, self._std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
        self._slope = np.float32(QUICK_GELU_SLOPE if activation == "quick_gelu" else 1.0)

    def __iter__(self) -> Iterator[str]:
        yield from self._tensors
        yield from PROJECTION_NORMS

    def __len__(self) -> int:
        return len(self._tensors) + len(PROJECTION_NORMS)

    def __getitem__(self, name: str) -> Array:
        if name in PROJECTION_NORMS:
            projection, norm = PROJECTION_NORMS[name]
            return self._tensors[f"{norm}.bias"] @ self._tensors[projection]
        tensor = self._tensors[name]
        block, _, part = name.rpartition(".attn." if ".attn." in name else ".mlp.")
        match part or name:
            case "visual.conv1.weight":
                return tensor / (255 * self._std[:, None, None])
            case "visual.positional_embedding":
                shift = np.einsum("ocij,c->o", self._tensors["visual.conv1.weight"], -self._mean / self._std)
                positions: Array = tensor + shift
                positions[0] = tensor[0] + self._tensors["visual.class_embedding"]
                return positions
            case "in_proj_weight":
                return self._behind(self._norm_before(block), tensor, self._query_scale(block, len(tensor)))
            case "in_proj_bias":
                bias = self._in_proj_bias(block) * self._query_scale(block, len(tensor))
                bias[len(bias) // 3 :] = 0  # a shift of all keys changes no softmax; the values' is in out_proj.bias
                return bias
            case "out_proj.bias":
                values = self._in_proj_bias(block)[-len(tensor) :]
                return tensor + self._tensors[f"{block}.attn.out_proj.weight"] @ values
            case "c_fc.weight":
                return self._behind(f"{block}.ln_2", tensor, self._slope)
            case "c_fc.bias":
                return self._shifted(f"{block}.ln_2", f"{block}.mlp.c_fc.weight", tensor) * self._slope
            case "c_proj.weight":
                return tensor / self._slope
            case "visual.proj":
                return tensor * self._tensors["visual.ln_post.weight"][:, None]
            case "text_projection":
                return tensor * self._tensors["ln_final.weight"][:, None]
        return tensor

    def _behind(self, norm: str, weight: Array, scale: Array | np.float32) -> Array:
        """A weight [out, in] with a norm's gain, its outputs scaled."""
        folded: Array = weight * self._tensors[f"{norm}.weight"]
        folded *= np.reshape(scale, (-1, 1))
        return folded

    def _shifted(self, norm: str, weight: str, bias: Array) -> Array:
        """A bias [out] with what a norm's bias adds through the weight."""
        return bias + self._tensors[weight] @ self._tensors[f"{norm}.bias"]

    def _norm_before(self, block: str) -> str:
        """The norm before a block's attention."""
        return f"{block}.ln_1"

    def _in_proj_bias(self, block: str) -> Array:
        name = f"{block}.attn.in_proj"
        return self._shifted(self._norm_before(block), f"{name}_weight", self._tensors[f"{name}_bias"])

    def _query_scale(self, block: str, rows: int) -> Array:
        """1/√(head width) for the queries, 1 for keys and values [3 * width]."""
        size = self._architecture
        heads = size.vision_heads if block.startswith("visual.") else size.text_heads
        return np.repeat(np.array([(rows / 3 / heads) ** -0.5, 1, 1], np.float32), rows // 3)
