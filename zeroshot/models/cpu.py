"""The towers' quick form for CPUs: the same function with other operations.

On a CPU broadcasts, transposes and `LayerNorm` are slow. What is linear around the matrices is folded into the weights
once, at load (`folded.py`); norms, heads, MLPs and the last block are replaced by operations that were measured faster.
"""

from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from zeroshot.models.architecture import Activation, Architecture, Tensors
from zeroshot.models.towers import (
    ACTIVATIONS,
    EPSILON,
    MASKED,
    LayerNorm,
    Linear,
    block_names,
    linear,
    named_parameter,
    parameter,
    patch_kernel,
)

FLOAT32 = ms.float32  # the only dtype of a CPU


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


class OneQueryAttention(nn.Cell):
    """`CpuAttention` from one position of each image, without keys and values of every position.

    The query is multiplied by the keys' matrix, and the weighted sum of all positions by the values'.
    """

    def __init__(self, tensors: Tensors, name: str, heads: int) -> None:
        super().__init__()
        query, key, value = np.split(tensors[f"{name}.in_proj_weight"], 3)
        width = len(query)
        self.q = Linear(query, tensors[f"{name}.in_proj_bias"][:width], FLOAT32, f"{name}.q")
        self.k = parameter(key.reshape(heads, -1, width), FLOAT32, f"{name}.k")  # [heads, head width, width]
        self.v = parameter(value.reshape(heads, -1, width), FLOAT32, f"{name}.v")
        self.out_proj = linear(tensors, f"{name}.out_proj", FLOAT32)
        self.heads, self.width = heads, width
        self.transpose, self.softmax = ops.Transpose(), ops.Softmax(axis=-1)
        self.matmul, self.matmul_transposed = ops.BatchMatMul(), ops.BatchMatMul(transpose_b=True)

    def construct(self, queries: Tensor, x: Tensor, batch: int, _: None) -> Tensor:
        """queries: [batch, width], x: [batch * length, width] → [batch, width]."""
        x = x.reshape(batch, -1, self.width)
        q = self.swap(self.q(queries).reshape(batch, self.heads, -1))  # [heads, batch, head width]
        q = self.swap(self.matmul(q, self.k))  # [batch, heads, width]
        weights = self.softmax(self.matmul_transposed(q, x))  # [batch, heads, length]
        y = self.matmul(weights, x)  # [batch, heads, width]
        y = self.matmul_transposed(self.swap(y), self.v)  # [heads, batch, head width]
        return self.out_proj(self.swap(y).reshape(batch, self.width))

    def swap(self, x: Tensor) -> Tensor:
        """[batch, heads, …] ↔ [heads, batch, …]."""
        return self.transpose(x, (1, 0, 2))


class HalfMLP(nn.Cell):
    """The MLP on one half of its hidden units."""

    def __init__(self, c_fc: Linear, activation: Activation, c_proj: Linear) -> None:
        super().__init__()
        self.c_fc, self.c_proj = c_fc, c_proj
        self.activation = ScaledQuickGELU() if activation == "quick_gelu" else ACTIVATIONS[activation]()

    def construct(self, x: Tensor) -> Tensor:
        return self.c_proj(self.activation(self.c_fc(x)))


def mlp_halves(tensors: Tensors, name: str, activation: Activation) -> list[HalfMLP]:
    """Both halves of an MLP; the output bias is with the first one."""
    rows, biases = (np.split(tensors[f"{name}.c_fc.{part}"], 2) for part in ("weight", "bias"))
    columns = map(np.ascontiguousarray, np.split(tensors[f"{name}.c_proj.weight"], 2, axis=1))
    out_biases = (tensors[f"{name}.c_proj.bias"], None)
    return [
        HalfMLP(
            Linear(row, bias, FLOAT32, f"{name}.{half}.c_fc"),
            activation,
            Linear(column, out_bias, FLOAT32, f"{name}.{half}.c_proj"),
        )
        for half, (row, bias, column, out_bias) in enumerate(zip(rows, biases, columns, out_biases, strict=True))
    ]


class CpuBlock(nn.Cell):
    """A residual block; the MLP in two halves, whose hidden units then fit into a cache."""

    def __init__(
        self,
        tensors: Tensors,
        name: str,
        heads: int,
        activation: Activation,
        epsilon: float = EPSILON,
        attention: Callable[[Tensors, str, int], nn.Cell] = CpuAttention,
    ) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = RowNorm(epsilon), RowNorm(epsilon)
        self.attn = attention(tensors, f"{name}.attn", heads)
        self.first, self.second = mlp_halves(tensors, f"{name}.mlp", activation)

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
        blocks = [CpuBlock(tensors, name, heads, activation) for name in names[:-1]]
        last = CpuBlock(tensors, names[-1], heads, activation, attention=OneQueryAttention)
        self.resblocks = nn.CellList([*blocks, last])
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
