"""A CLIP's tensors with what is linear around its matrices folded into them: the same function, fewer operations."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from zeroshot.models.architecture import HEAD_WIDTH, QUICK_GELU_SLOPE, Activation, Tensors
from zeroshot.models.preprocess import MEAN, STD

# the bias that a projection has once the norm before it is folded in: by its name, the projection and the norm
PROJECTION_NORMS = {
    "visual.proj_bias": ("visual.proj", "visual.ln_post"),
    "text_projection_bias": ("text_projection", "ln_final"),
}


class Folded(Mapping[str, NDArray[np.float32]]):
    """The same network's tensors for the quick form of the towers, exact but for rounding; each made when asked for.

    Pixel normalisation goes into the patch embedding, the class embedding into its position, gain and bias of a norm
    into the matrix behind it, 1/8 of attention into the queries, the values' bias into the one behind them, and the
    slope of QuickGELU into the matrices around.
    """

    def __init__(self, tensors: Tensors, activation: Activation = "quick_gelu") -> None:
        self._tensors = tensors
        self._slope = np.float32(QUICK_GELU_SLOPE if activation == "quick_gelu" else 1.0)

    def __iter__(self) -> Iterator[str]:
        yield from self._tensors
        yield from PROJECTION_NORMS

    def __len__(self) -> int:
        return len(self._tensors) + len(PROJECTION_NORMS)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        if name in PROJECTION_NORMS:
            projection, norm = PROJECTION_NORMS[name]
            return self._tensors[f"{norm}.bias"] @ self._tensors[projection]
        tensor = self._tensors[name]
        block, _, part = name.rpartition(".attn." if ".attn." in name else ".mlp.")
        match part or name:
            case "visual.conv1.weight":
                return tensor / (255 * STD[:, None, None])
            case "visual.positional_embedding":
                shift = np.einsum("ocij,c->o", self._tensors["visual.conv1.weight"], -MEAN / STD)
                positions: NDArray[np.float32] = tensor + shift
                positions[0] = tensor[0] + self._tensors["visual.class_embedding"]
                return positions
            case "in_proj_weight":
                return self._behind(f"{block}.ln_1", tensor, self._queries(len(tensor)))
            case "in_proj_bias":
                bias = self._in_proj_bias(block) * self._queries(len(tensor))
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

    def _behind(
        self, norm: str, weight: NDArray[np.float32], scale: NDArray[np.float32] | np.float32
    ) -> NDArray[np.float32]:
        """A weight [out, in] that takes a norm's gain over, its outputs scaled."""
        return weight * self._tensors[f"{norm}.weight"] * np.reshape(scale, (-1, 1))

    def _shifted(self, norm: str, weight: str, bias: NDArray[np.float32]) -> NDArray[np.float32]:
        """A bias [out] that takes over what a norm's bias adds through the weight."""
        return bias + self._tensors[weight] @ self._tensors[f"{norm}.bias"]

    def _in_proj_bias(self, block: str) -> NDArray[np.float32]:
        name = f"{block}.attn.in_proj"
        return self._shifted(f"{block}.ln_1", f"{name}_weight", self._tensors[f"{name}_bias"])

    @staticmethod
    def _queries(rows: int) -> NDArray[np.float32]:
        """1/8 for the queries, 1 for keys and values [3 * width]."""
        return np.repeat(np.array([HEAD_WIDTH**-0.5, 1, 1], np.float32), rows // 3)
