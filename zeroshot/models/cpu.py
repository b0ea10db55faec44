"""The towers' quick form for CPUs: the same function with other operations.

On a CPU broadcasts, transposes and `LayerNorm` are slow. What is linear around the matrices is folded into the weights
once, at load (`Folded`); norms, heads, MLPs and the last block are replaced by operations that were measured faster.
"""

from collections.abc import Iterator, Mapping

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

from zeroshot.models.architecture import Activation, Architecture, Tensors
from zeroshot.models.preprocess import Preprocessing
from zeroshot.models.towers import (
    ACTIVATIONS,
    EPSILON,
    MASKED,
    QUICK_GELU_SLOPE,
    LayerNorm,
    Linear,
    block_names,
    linear,
    named_parameter,
    patch_kernel,
)

FLOAT32 = ms.float32  # the only dtype of a CPU

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
        return weight * self._tensors[f"{norm}.weight"] * np.reshape(scale, (-1, 1))

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


class RowNorm(nn.Cell):
    """LayerNorm without gain and bias, as a BatchNorm with rows for channels: five times as fast."""

    def __init__(self, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.normalize = ops.BatchNorm(is_training=True, epsilon=epsilon)

    def construct(self, x: Tensor) -> Tensor:
        rows, width = x.shape
        ones, zeros = ops.ones((rows,), FLOAT32), ops.zeros((rows,), FLOAT32)
        return self.normalize(x.reshape(1, rows, width, 1), ones, zeros, zeros, ones)[0].reshape(rows, width)


class ScaledQuickGELU(nn.Cell):
    """QuickGELU of an input that comes multiplied by 1.702."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = ops.Sigmoid()

    def construct(self, x: Tensor) -> Tensor:
        return x * self.sigmoid(x)


class CpuAttention(nn.Cell):
    """Attention from some positions to all; heads by Split and Concat, which copy faster than Transpose."""

    def __init__(self, tensors: Tensors, name: str, heads: int) -> None:
        super().__init__()
        weights = np.split(tensors[f"{name}.in_proj_weight"], 3)
        query_bias = np.split(tensors[f"{name}.in_proj_bias"], 3)[0]
        self.q = Linear(weights[0], query_bias, FLOAT32, f"{name}.q")
        self.k = Linear(weights[1], None, FLOAT32, f"{name}.k")
        self.v = Linear(weights[2], None, FLOAT32, f"{name}.v")
        self.out_proj = linear(tensors, f"{name}.out_proj", FLOAT32)
        self.heads, self.head_width = heads, len(query_bias) // heads
        self.split_columns, self.split_rows = ops.Split(1, heads), ops.Split(0, heads)
        self.concat_rows, self.concat_columns = ops.Concat(0), ops.Concat(1)
        self.similarity = ops.BatchMatMul(transpose_b=True)
        self.softmax = ops.Softmax(axis=-1)
        self.weighted_sum = ops.BatchMatMul()

    def construct(self, queries: Tensor, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        """queries: [batch * positions, width], x: [batch * length, width], mask: [heads, batch, positions, length]."""
        logits = self.similarity(self.apart(self.q(queries), batch), self.apart(self.k(x), batch))
        if mask is not None:
            logits = logits + mask
        y = self.weighted_sum(self.softmax(logits), self.apart(self.v(x), batch))
        y = self.concat_columns(self.split_rows(y.reshape(-1, self.head_width)))  # [batch * positions, width]
        return self.out_proj(y)

    def apart(self, x: Tensor, batch: int) -> Tensor:
        """[batch * length, width] → [heads, batch, length, head width]."""
        return self.concat_rows(self.split_columns(x)).reshape(self.heads, batch, -1, self.head_width)


class HalfMLP(nn.Cell):
    """The MLP on one half of its hidden units; the output bias is with the first half."""

    def __init__(self, tensors: Tensors, name: str, half: int, activation: Activation) -> None:
        super().__init__()
        rows, biases = (np.split(tensors[f"{name}.c_fc.{part}"], 2)[half] for part in ("weight", "bias"))
        columns = np.ascontiguousarray(np.split(tensors[f"{name}.c_proj.weight"], 2, axis=1)[half])
        out_bias = tensors[f"{name}.c_proj.bias"] if half == 0 else None
        self.c_fc = Linear(rows, biases, FLOAT32, f"{name}.{half}.c_fc")
        self.activation = ScaledQuickGELU() if activation == "quick_gelu" else ACTIVATIONS[activation]()
        self.c_proj = Linear(columns, out_bias, FLOAT32, f"{name}.{half}.c_proj")

    def construct(self, x: Tensor) -> Tensor:
        return self.c_proj(self.activation(self.c_fc(x)))


class CpuBlock(nn.Cell):
    """A residual block; the MLP in two halves, whose hidden units then fit into a cache."""

    def __init__(
        self, tensors: Tensors, name: str, heads: int, activation: Activation, epsilon: float = EPSILON
    ) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = RowNorm(epsilon), RowNorm(epsilon)
        self.attn = CpuAttention(tensors, f"{name}.attn", heads)
        self.first = HalfMLP(tensors, f"{name}.mlp", 0, activation)
        self.second = HalfMLP(tensors, f"{name}.mlp", 1, activation)

    def construct(self, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        normed = self.norm_1(x)
        return self.add_mlp(x + self.attn(normed, normed, batch, mask))  # [batch * length, width]

    def at_rows(self, x: Tensor, rows: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        """The output at some rows alone, which is all that is read of the last block: [rows, width]."""
        normed = self.norm_1(x)
        queries = ops.gather(normed, rows, 0)
        return self.add_mlp(ops.gather(x, rows, 0) + self.attn(queries, normed, batch, mask))

    def add_mlp(self, x: Tensor) -> Tensor:
        y = self.norm_2(x)
        return x + (self.first(y) + self.second(y))


class CpuImageTower(nn.Cell):
    """`towers.ImageTower` for CPUs; `tensors` are `Folded`."""

    def __init__(self, architecture: Architecture, tensors: Tensors, activation: Activation) -> None:
        super().__init__()
        self.patch_size = architecture.patch_size
        self.conv1 = Linear(patch_kernel(tensors), None, FLOAT32, "visual.conv1")
        self.positional_embedding = named_parameter(tensors, "visual.positional_embedding", FLOAT32)
        self.ln_pre = LayerNorm(tensors, "visual.ln_pre")
        names = block_names("visual.transformer", architecture.vision_layers)
        heads = architecture.vision_heads
        self.resblocks = nn.CellList([CpuBlock(tensors, name, heads, activation) for name in names])
        self.ln_post = RowNorm()
        self.proj = projection_with_bias(tensors, "visual.proj")
        self.transpose = ops.Transpose()
        self.bias_add = ops.BiasAdd()

    def construct(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, image_size, image_size, 3] → float32 [batch, embed_dim], not yet of unit length."""
        batch, side, p = pixels.shape[0], pixels.shape[1], self.patch_size
        grid = side // p
        x = self.transpose(pixels.reshape(batch, grid, p, grid, p * 3), (0, 1, 3, 2, 4))
        x = self.conv1(x.reshape(batch * grid * grid, p * p * 3).astype(FLOAT32))
        length, width = grid * grid + 1, x.shape[-1]
        x = ops.concat((ops.zeros((batch, 1, width), FLOAT32), x.reshape(batch, grid * grid, width)), 1)
        x = x.reshape(batch, length * width)  # one bias over a whole image instead of broadcasts
        x = self.bias_add(x, self.positional_embedding.reshape(length * width))
        x = self.ln_pre(x.reshape(batch * length, width))
        for block in self.resblocks[:-1]:
            x = block(x, batch, None)
        x = self.resblocks[-1].at_rows(x, ops.arange(batch) * length, batch, None)  # the class tokens
        return self.proj(self.ln_post(x))


class CpuTextTower(nn.Cell):
    """`towers.TextTower` for CPUs; `tensors` are `Folded`."""

    def __init__(self, architecture: Architecture, tensors: Tensors, activation: Activation) -> None:
        super().__init__()
        self.heads = architecture.text_heads
        self.token_embedding = named_parameter(tensors, "token_embedding.weight", FLOAT32)
        self.positional_embedding = named_parameter(tensors, "positional_embedding", FLOAT32)
        names = block_names("transformer", architecture.text_layers)
        self.resblocks = nn.CellList([CpuBlock(tensors, name, self.heads, activation) for name in names])
        self.ln_final = RowNorm()
        self.text_projection = projection_with_bias(tensors, "text_projection")

    def construct(self, tokens: Tensor, positions: Tensor, visible: Tensor, ends: Tensor) -> Tensor:
        """As `towers.TextTower.construct`."""
        batch, length = tokens.shape
        x = ops.gather(self.token_embedding, tokens.reshape(-1), 0)
        x = x + ops.gather(self.positional_embedding, positions.reshape(-1), 0)
        mask = ops.where(visible, 0.0, MASKED)
        by_head = mask.broadcast_to((self.heads, batch, length, length))  # once for all blocks
        for block in self.resblocks[:-1]:
            x = block(x, batch, by_head)
        rows = (ops.arange(batch).reshape(batch, 1) * length + ends).reshape(-1)
        mask = ops.gather(mask.reshape(batch * length, length), rows, 0).reshape(batch, -1, length)
        x = self.resblocks[-1].at_rows(x, rows, batch, mask)
        return self.text_projection(self.ln_final(x))


def projection_with_bias(tensors: Tensors, name: str) -> Linear:
    """A projection into the shared space with the bias of the norm that is folded into it."""
    return Linear(np.ascontiguousarray(tensors[name].T), tensors[f"{name}_bias"], FLOAT32, name)
