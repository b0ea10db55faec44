"""The towers' quick form for CPUs: the same function with other operations.

On a CPU broadcasts, transposes and `LayerNorm` are slow. What is linear around the matrices is folded into the weights
once, at load (`folded.py`); norms, heads, MLPs and the last block are replaced by operations that were measured faster.
"""

from collections.abc import Callable, Iterable

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from numpy.typing import NDArray

from zeroshot.models.architecture import Activation, Architecture, Tensors
from zeroshot.models.towers import (
    ACTIVATIONS,
    EPSILON,
    MASKED,
    EndRows,
    LayerNorm,
    Linear,
    block_names,
    named_parameter,
    parameter,
    patch_kernel,
)

FLOAT32 = ms.float32  # the only dtype of a CPU

Weights = tuple[Tensor, ...]


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


class LinearWithBias(nn.Cell):
    """x Wᵀ + b over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.matmul, self.bias_add = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return self.bias_add(self.matmul(x, weight), bias)


class CpuAttention(nn.Cell):
    """Attention from some positions to all; heads by Split and Concat, which copy faster than Transpose."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear, self.linear_with_bias = ops.MatMul(transpose_b=True), LinearWithBias()
        self.split_columns, self.split_rows = ops.Split(1, heads), ops.Split(0, heads)
        self.concat_rows, self.concat_columns = ops.Concat(0), ops.Concat(1)
        self.similarity = ops.BatchMatMul(transpose_b=True)
        self.softmax = ops.Softmax(axis=-1)
        self.weighted_sum = ops.BatchMatMul()

    def construct(self, queries: Tensor, x: Tensor, batch: int, mask: Tensor | None, weights: Weights) -> Tensor:
        """queries: [batch * positions, width], x: [batch * length, width], mask: [heads, batch, positions, length]."""
        query, query_bias, key, value, out, out_bias = weights
        q = self.apart(self.linear_with_bias(queries, query, query_bias), batch)
        logits = self.similarity(q, self.apart(self.linear(x, key), batch))
        if mask is not None:
            logits = logits + mask
        y = self.weighted_sum(self.softmax(logits), self.apart(self.linear(x, value), batch))
        y = self.concat_columns(self.split_rows(y.reshape(-1, y.shape[-1])))  # [batch * positions, width]
        return self.linear_with_bias(y, out, out_bias)

    def apart(self, x: Tensor, batch: int) -> Tensor:
        """[batch * length, width] → [heads, batch, length, head width]."""
        return self.concat_rows(self.split_columns(x)).reshape(self.heads, batch, -1, x.shape[-1] // self.heads)


class OneQueryAttention(nn.Cell):
    """`CpuAttention` from one position of each image, without keys and values of every position.

    The query is multiplied by the keys' matrix, and the weighted sum of all positions by the values'.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_with_bias = LinearWithBias()
        self.transpose, self.softmax = ops.Transpose(), ops.Softmax(axis=-1)
        self.matmul, self.matmul_transposed = ops.BatchMatMul(), ops.BatchMatMul(transpose_b=True)

    def construct(self, queries: Tensor, x: Tensor, batch: int, _: None, weights: Weights) -> Tensor:
        """queries: [batch, width], x: [batch * length, width] → [batch, width]."""
        query, query_bias, key, value, out, out_bias = weights
        width = x.shape[-1]
        x = x.reshape(batch, -1, width)
        q = self.linear_with_bias(queries, query, query_bias).reshape(batch, self.heads, -1)
        q = self.matmul(self.swap(q), self.by_head(key, width))  # [heads, batch, width]
        attention = self.softmax(self.matmul_transposed(self.swap(q), x))  # [batch, heads, length]
        y = self.matmul(attention, x)  # [batch, heads, width]
        y = self.matmul_transposed(self.swap(y), self.by_head(value, width))  # [heads, batch, head width]
        return self.linear_with_bias(self.swap(y).reshape(batch, width), out, out_bias)

    def by_head(self, weight: Tensor, width: int) -> Tensor:
        """[width, width] → [heads, head width, width]."""
        return weight.reshape(self.heads, -1, width)

    def swap(self, x: Tensor) -> Tensor:
        """[batch, heads, …] ↔ [heads, batch, …]."""
        return self.transpose(x, (1, 0, 2))


class CpuMLP(nn.Cell):
    """x + MLP(norm(x)); the hidden units in two halves, which then fit into a cache."""

    def __init__(self, activation: Activation, epsilon: float) -> None:
        super().__init__()
        self.norm = RowNorm(epsilon)
        self.linear, self.linear_with_bias = ops.MatMul(transpose_b=True), LinearWithBias()
        self.activation = ScaledQuickGELU() if activation == "quick_gelu" else ACTIVATIONS[activation]()

    def construct(self, x: Tensor, weights: Weights) -> Tensor:
        """[rows, width] → [rows, width]."""
        in_1, in_bias_1, out_1, in_2, in_bias_2, out_2, out_bias = weights
        y = self.norm(x)
        hidden_1 = self.activation(self.linear_with_bias(y, in_1, in_bias_1))
        hidden_2 = self.activation(self.linear_with_bias(y, in_2, in_bias_2))
        return x + (self.linear_with_bias(hidden_1, out_1, out_bias) + self.linear(hidden_2, out_2))


class CpuBlock(nn.Cell):
    """A residual block, whose weights are arguments: MindSpore then parses its Python once, not for each layer."""

    def __init__(
        self,
        heads: int,
        activation: Activation,
        epsilon: float = EPSILON,
        attention: Callable[[int], nn.Cell] = CpuAttention,
    ) -> None:
        super().__init__()
        self.norm = RowNorm(epsilon)
        self.attn = attention(heads)
        self.mlp = CpuMLP(activation, epsilon)

    def construct(self, x: Tensor, batch: int, mask: Tensor | None, weights: tuple[Weights, Weights]) -> Tensor:
        """[batch * length, width] → [batch * length, width]."""
        normed = self.norm(x)
        return self.mlp(x + self.attn(normed, normed, batch, mask, weights[0]), weights[1])

    def at_rows(
        self, x: Tensor, rows: Tensor, batch: int, mask: Tensor | None, weights: tuple[Weights, Weights]
    ) -> Tensor:
        """The output at some rows alone, which is all that is read of the last block: [rows, width]."""
        normed = self.norm(x)
        queries = ops.gather(normed, rows, 0)
        return self.mlp(ops.gather(x, rows, 0) + self.attn(queries, normed, batch, mask, weights[0]), weights[1])


def all_block_weights(tensors: Tensors, tower: str, layers: int) -> list[tuple[Weights, Weights]]:
    """The weights of the attention and of the MLP of each block of a tower."""
    return [
        (attention_weights(tensors, f"{name}.attn"), mlp_weights(tensors, f"{name}.mlp"))
        for name in block_names(tower, layers)
    ]


def attention_weights(tensors: Tensors, name: str) -> Weights:
    """Matrices and biases as `CpuAttention` takes them; `Folded` keys and values have no bias."""
    query, key, value = np.split(tensors[f"{name}.in_proj_weight"], 3)
    query_bias = np.split(tensors[f"{name}.in_proj_bias"], 3)[0]
    out, out_bias = tensors[f"{name}.out_proj.weight"], tensors[f"{name}.out_proj.bias"]
    return parameters(name, (query, query_bias, key, value, out, out_bias))


def mlp_weights(tensors: Tensors, name: str) -> Weights:
    """Matrices and biases as `CpuMLP` takes them."""
    in_1, in_2 = np.split(tensors[f"{name}.c_fc.weight"], 2)
    in_bias_1, in_bias_2 = np.split(tensors[f"{name}.c_fc.bias"], 2)
    out_1, out_2 = map(np.ascontiguousarray, np.split(tensors[f"{name}.c_proj.weight"], 2, axis=1))
    out_bias = tensors[f"{name}.c_proj.bias"]
    first, second = (in_1, in_bias_1, out_1), (in_2, in_bias_2, out_2)
    return parameters(name, (*first, *second, out_bias))


def parameters(name: str, arrays: Iterable[NDArray[np.float32]]) -> Weights:
    """A parameter of each array."""
    return tuple(parameter(array, FLOAT32, f"{name}.{place}") for place, array in enumerate(arrays))


class CpuImageTower(nn.Cell):
    """`towers.ImageTower` for CPUs; `tensors` are `Folded`."""

    def __init__(self, architecture: Architecture, tensors: Tensors, activation: Activation) -> None:
        super().__init__()
        self.patch_size = architecture.patch_size
        self.conv1 = Linear(patch_kernel(tensors), None, FLOAT32, "visual.conv1")
        self.positional_embedding = named_parameter(tensors, "visual.positional_embedding", FLOAT32)
        self.ln_pre = LayerNorm(tensors, "visual.ln_pre")
        self.block = CpuBlock(architecture.vision_heads, activation)
        self.last_block = CpuBlock(architecture.vision_heads, activation, attention=OneQueryAttention)
        self.weights = all_block_weights(tensors, "visual.transformer", architecture.vision_layers)
        self.ln_post = RowNorm()
        self.proj = projection_with_bias(tensors, "visual.proj")
        self.transpose, self.bias_add = ops.Transpose(), ops.BiasAdd()
        self.range = ops.Range()

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
        for weights in self.weights[:-1]:
            x = self.block(x, batch, None, weights)
        class_tokens = self.range(0, batch * length, length)
        x = self.last_block.at_rows(x, class_tokens, batch, None, self.weights[-1])
        return self.proj(self.ln_post(x))


class CpuTextTower(nn.Cell):
    """`towers.TextTower` for CPUs; `tensors` are `Folded`."""

    def __init__(self, architecture: Architecture, tensors: Tensors, activation: Activation) -> None:
        super().__init__()
        self.heads = architecture.text_heads
        self.token_embedding = named_parameter(tensors, "token_embedding.weight", FLOAT32)
        self.positional_embedding = named_parameter(tensors, "positional_embedding", FLOAT32)
        self.block = CpuBlock(self.heads, activation)
        self.weights = all_block_weights(tensors, "transformer", architecture.text_layers)
        self.ln_final = RowNorm()
        self.text_projection = projection_with_bias(tensors, "text_projection")
        self.end_rows = EndRows()

    def construct(self, tokens: Tensor, positions: Tensor, visible: Tensor, ends: Tensor) -> Tensor:
        """As `towers.TextTower.construct`."""
        batch, length = tokens.shape
        x = ops.gather(self.token_embedding, tokens.reshape(-1), 0)
        x = x + ops.gather(self.positional_embedding, positions.reshape(-1), 0)
        mask = (1.0 - visible.astype(FLOAT32)) * MASKED
        by_head = mask.broadcast_to((self.heads, batch, length, length))  # once for all blocks
        for weights in self.weights[:-1]:
            x = self.block(x, batch, by_head, weights)
        rows = self.end_rows(ends, length)
        mask = ops.gather(mask.reshape(batch * length, length), rows, 0).reshape(batch, -1, length)
        x = self.block.at_rows(x, rows, batch, mask, self.weights[-1])
        return self.text_projection(self.ln_final(x))


def projection_with_bias(tensors: Tensors, name: str) -> Linear:
    """A projection into the shared space with the bias of the norm that is folded into it."""
    return Linear(np.ascontiguousarray(tensors[name].T), tensors[f"{name}_bias"], FLOAT32, name)
