"""What the network's cells are made of, in two forms.

`PLAIN` is the network as published, for accelerators and for training. `QUICK` is the same function for a CPU, where
broadcasts, transposes and `LayerNorm` are slow: what is linear around them is folded into the weights (`folded.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from zeroshot.models.architecture import HEAD_WIDTH, QUICK_GELU_SLOPE, Activation, Tensors

EPSILON = 1e-5  # of every LayerNorm; MindSpore's own default differs


class LayerNorm(nn.Cell):
    """Zero mean and unit variance over the width, then gain and bias; in fp32 whatever comes in."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(tensors[f"{name}.weight"]), name=f"{name}.weight")
        self.bias = Parameter(Tensor(tensors[f"{name}.bias"]), name=f"{name}.bias")
        self.normalize = ops.LayerNorm(begin_norm_axis=1, begin_params_axis=1, epsilon=EPSILON)

    def construct(self, x: Tensor) -> Tensor:  # [rows, width]
        return self.normalize(x.astype(ms.float32), self.weight, self.bias)[0].astype(x.dtype)


class RowNorm(nn.Cell):
    """LayerNorm without gain and bias, as a BatchNorm with rows for channels: five times as quick on a CPU."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        super().__init__()
        self.normalize = ops.BatchNorm(is_training=True, epsilon=EPSILON)

    def construct(self, x: Tensor) -> Tensor:  # [rows, width]
        rows, width = x.shape
        ones, zeros = ops.ones((rows,), ms.float32), ops.zeros((rows,), ms.float32)
        return self.normalize(x.reshape(1, rows, width, 1), ones, zeros, zeros, ones)[0].reshape(rows, width)


class QuickGELU(nn.Cell):
    """x · sigmoid(1.702 x), OpenAI's stand-in for GELU; `scaled`: the input comes multiplied by 1.702 already."""

    def __init__(self, scaled: bool) -> None:
        super().__init__()
        self.scaled = scaled
        self.sigmoid = ops.Sigmoid()

    def construct(self, x: Tensor) -> Tensor:
        if self.scaled:
            return x * self.sigmoid(x)
        return x * self.sigmoid(QUICK_GELU_SLOPE * x)


class GELU(nn.Cell):
    """x · Φ(x) with the exact normal distribution (Hendrycks and Gimpel 2016), as later CLIPs have it."""

    def __init__(self) -> None:
        super().__init__()
        self.erf = ops.Erf()

    def construct(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1.0 + self.erf(x * 0.5**0.5))


class Heads(nn.Cell):
    """Positions [batch * length, heads * 64] to heads [heads, batch, length, 64] and back."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.transpose = ops.Transpose()

    def apart(self, x: Tensor, batch: int) -> Tensor:
        return self.transpose(x.reshape(batch, -1, self.heads, HEAD_WIDTH), (2, 0, 1, 3))

    def together(self, x: Tensor) -> Tensor:
        heads, batch, length, _ = x.shape
        return self.transpose(x, (1, 2, 0, 3)).reshape(batch * length, heads * HEAD_WIDTH)


class SplitHeads(nn.Cell):
    """The same by splitting and joining: two copies that a CPU makes in less time than it transposes."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.columns, self.rows = ops.Split(1, heads), ops.Split(0, heads)
        self.below, self.beside = ops.Concat(0), ops.Concat(1)

    def apart(self, x: Tensor, batch: int) -> Tensor:
        return self.below(self.columns(x)).reshape(self.heads, batch, -1, HEAD_WIDTH)

    def together(self, x: Tensor) -> Tensor:
        return self.beside(self.rows(x.reshape(-1, HEAD_WIDTH)))


class Dense(nn.Cell):
    """x Wᵀ + b over rows, the weight stored [out, in] as torch does; without a bias where the checkpoint has none."""

    def __init__(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, dtype: ms.Type, name: str
    ) -> None:
        super().__init__()
        self.weight = as_parameter(weight, dtype, f"{name}.weight")
        self.bias = None if bias is None else as_parameter(bias, dtype, f"{name}.bias")
        self.matmul = ops.MatMul(transpose_b=True)
        self.bias_add = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        y = self.matmul(x, self.weight)
        return y if self.bias is None else self.bias_add(y, self.bias)


class MLP(nn.Cell):
    """Four times the width, the activation, and back."""

    def __init__(self, c_fc: Dense, activation: nn.Cell, c_proj: Dense) -> None:
        super().__init__()
        self.c_fc, self.activation, self.c_proj = c_fc, activation, c_proj

    def construct(self, x: Tensor) -> Tensor:
        return self.c_proj(self.activation(self.c_fc(x)))


class HalvedMLP(nn.Cell):
    """The same in two halves of the hidden units: what lies between two matrices is then small enough for a cache."""

    def __init__(self, first: MLP, second: MLP) -> None:
        super().__init__()
        self.first, self.second = first, second

    def construct(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)


def whole_mlp(tensors: Tensors, name: str, dtype: ms.Type, activation: nn.Cell) -> nn.Cell:
    return MLP(dense(tensors, f"{name}.c_fc", dtype), activation, dense(tensors, f"{name}.c_proj", dtype))


def halved_mlp(tensors: Tensors, name: str, dtype: ms.Type, activation: nn.Cell) -> nn.Cell:
    rows, biases = np.split(tensors[f"{name}.c_fc.weight"], 2), np.split(tensors[f"{name}.c_fc.bias"], 2)
    columns = np.split(tensors[f"{name}.c_proj.weight"], 2, axis=1)
    first, second = (
        MLP(
            Dense(rows[half], biases[half], dtype, f"{name}.{half}.c_fc"),
            activation,
            Dense(np.ascontiguousarray(columns[half]), bias, dtype, f"{name}.{half}.c_proj"),
        )
        for half, bias in enumerate((tensors[f"{name}.c_proj.bias"], None))
    )
    return HalvedMLP(first, second)


@dataclass(frozen=True)
class Form:
    """How the operations are carried out: the seam between a CPU and every other target."""

    folded: bool
    norm: Callable[[Tensors, str], nn.Cell]
    heads: Callable[[int], nn.Cell]
    mlp: Callable[[Tensors, str, ms.Type, nn.Cell], nn.Cell]

    def activation(self, name: Activation) -> nn.Cell:
        return GELU() if name == "gelu" else QuickGELU(scaled=self.folded)


PLAIN = Form(folded=False, norm=LayerNorm, heads=Heads, mlp=whole_mlp)
QUICK = Form(folded=True, norm=RowNorm, heads=SplitHeads, mlp=halved_mlp)


def parameter(tensors: Tensors, name: str, dtype: ms.Type) -> Parameter:
    return as_parameter(tensors[name], dtype, name)


def as_parameter(array: NDArray[np.float32], dtype: ms.Type, name: str) -> Parameter:
    """A parameter that takes a float32 array over as it is, where that is its type: weights are large."""
    shared = dtype == ms.float32 and array.flags.c_contiguous and array.flags.writeable
    return Parameter(Tensor.from_numpy(array) if shared else Tensor(array, dtype), name=name)


def dense(tensors: Tensors, name: str, dtype: ms.Type) -> Dense:
    return Dense(tensors[f"{name}.weight"], tensors[f"{name}.bias"], dtype, name)
