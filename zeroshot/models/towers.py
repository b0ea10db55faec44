"""The CLIP network as published: image tower and text tower (Radford et al. 2021; names as in openai/CLIP).

Its cells serve the other families too (`chinese_clip.py`, `siglip.py`). A tower is built from the tensors of a
checkpoint, by their names there. Activations are rows, [batch * length, width]: a row is one patch or token. LayerNorm
and softmax are computed in float32, everything else in the dtype of the weights.
"""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from numpy.typing import NDArray

from zeroshot.models.architecture import Activation, Architecture, Tensors
from zeroshot.models.preprocess import Preprocessing

EPSILON = 1e-5  # of every LayerNorm of CLIP; MindSpore's default differs
QUICK_GELU_SLOPE = 1.702
GELU_TANH = (2 * (2 / np.pi) ** 0.5, 0.044715)
MASKED = -1e9  # added to the logits of positions that attention must not see


class LayerNorm(nn.Cell):
    """Zero mean and unit variance over the width, then gain and bias; in float32 whatever comes in."""

    def __init__(self, tensors: Tensors, name: str, epsilon: float = EPSILON) -> None:
        super().__init__()
        self.weight = parameter(tensors[f"{name}.weight"], ms.float32, f"{name}.weight")
        self.bias = parameter(tensors[f"{name}.bias"], ms.float32, f"{name}.bias")
        self.normalize = ops.LayerNorm(begin_norm_axis=1, begin_params_axis=1, epsilon=epsilon)

    def construct(self, x: Tensor) -> Tensor:
        y = self.normalize(x.astype(ms.float32), self.weight, self.bias)[0]  # [rows, width]
        return y.astype(x.dtype)


class Linear(nn.Cell):
    """x Wᵀ + b over rows, the weight stored [out, in] as torch stores it; no bias where the checkpoint has none."""

    def __init__(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, dtype: ms.Type, name: str
    ) -> None:
        super().__init__()
        self.weight = parameter(weight, dtype, f"{name}.weight")
        self.bias = None if bias is None else parameter(bias, dtype, f"{name}.bias")
        self.matmul = ops.MatMul(transpose_b=True)
        self.bias_add = ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        y = self.matmul(x, self.weight)  # [rows, out]
        return y if self.bias is None else self.bias_add(y, self.bias)


class QuickGELU(nn.Cell):
    """x · sigmoid(1.702 x), OpenAI's approximation of GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = ops.Sigmoid()

    def construct(self, x: Tensor) -> Tensor:
        return x * self.sigmoid(QUICK_GELU_SLOPE * x)


class GELU(nn.Cell):
    """x · Φ(x) with the exact normal distribution (Hendrycks and Gimpel 2016), as later CLIPs have it."""

    def __init__(self) -> None:
        super().__init__()
        self.erf = ops.Erf()

    def construct(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1.0 + self.erf(x * 0.5**0.5))


class TanhGELU(nn.Cell):
    """GELU's approximation x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))), by the sigmoid that it equals."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = ops.Sigmoid()
        self.slope, self.cubic = GELU_TANH

    def construct(self, x: Tensor) -> Tensor:
        return x * self.sigmoid(self.slope * x * (1.0 + self.cubic * x * x))


ACTIVATIONS: dict[Activation, type[nn.Cell]] = {"quick_gelu": QuickGELU, "gelu": GELU, "gelu_tanh": TanhGELU}


class Attention(nn.Cell):
    """Multi-head attention of all positions to all positions."""

    def __init__(self, tensors: Tensors, name: str, heads: int, dtype: ms.Type) -> None:
        super().__init__()
        self.heads = heads
        weights = np.split(tensors[f"{name}.in_proj_weight"], 3)
        biases = np.split(tensors[f"{name}.in_proj_bias"], 3)
        self.q = Linear(weights[0], biases[0], dtype, f"{name}.q")
        self.k = Linear(weights[1], biases[1], dtype, f"{name}.k")
        self.v = Linear(weights[2], biases[2], dtype, f"{name}.v")
        self.out_proj = linear(tensors, f"{name}.out_proj", dtype)
        self.transpose = ops.Transpose()
        self.similarity = ops.BatchMatMul(transpose_b=True)
        self.softmax = ops.Softmax(axis=-1)
        self.weighted_sum = ops.BatchMatMul()

    def construct(self, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        """x: [batch * length, width]; mask, added to the logits: broadcast to [heads, batch, length, length]."""
        return self.attend(x, x, batch, mask)

    def attend(self, queries: Tensor, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        """The same from other positions, queries: [batch * positions, width], which are as many in the result."""
        q = self.split_heads(self.q(queries), batch)  # [heads, batch, positions, head width]
        k = self.split_heads(self.k(x), batch)  # [heads, batch, length, head width]
        v = self.split_heads(self.v(x), batch)
        q = q * q.shape[-1] ** -0.5
        logits = self.similarity(q, k).astype(ms.float32)  # [heads, batch, positions, length]
        if mask is not None:
            logits = logits + mask
        weights = self.softmax(logits).astype(v.dtype)
        y = self.weighted_sum(weights, v)  # [heads, batch, positions, head width]
        return self.out_proj(self.merge_heads(y))  # [batch * positions, width]

    def split_heads(self, x: Tensor, batch: int) -> Tensor:
        """[batch * length, width] → [heads, batch, length, head width]."""
        return self.transpose(x.reshape(batch, -1, self.heads, x.shape[-1] // self.heads), (2, 0, 1, 3))

    def merge_heads(self, x: Tensor) -> Tensor:
        """[heads, batch, length, head width] → [batch * length, width]."""
        heads, batch, length, head_width = x.shape
        return self.transpose(x, (1, 2, 0, 3)).reshape(batch * length, heads * head_width)


class MLP(nn.Cell):
    """Two linear layers with an activation between them."""

    def __init__(self, tensors: Tensors, name: str, dtype: ms.Type, activation: Activation) -> None:
        super().__init__()
        self.c_fc = linear(tensors, f"{name}.c_fc", dtype)
        self.activation = ACTIVATIONS[activation]()
        self.c_proj = linear(tensors, f"{name}.c_proj", dtype)

    def construct(self, x: Tensor) -> Tensor:
        hidden = self.activation(self.c_fc(x))  # [rows, mlp width]
        return self.c_proj(hidden)  # [rows, width]


class Block(nn.Cell):
    """A pre-norm residual block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(
        self,
        tensors: Tensors,
        name: str,
        heads: int,
        dtype: ms.Type,
        activation: Activation,
        epsilon: float = EPSILON,
    ) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(tensors, f"{name}.ln_1", epsilon)
        self.attn = Attention(tensors, f"{name}.attn", heads, dtype)
        self.ln_2 = LayerNorm(tensors, f"{name}.ln_2", epsilon)
        self.mlp = MLP(tensors, f"{name}.mlp", dtype, activation)

    def construct(self, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), batch, mask)  # [batch * length, width]
        return x + self.mlp(self.ln_2(x))


class EndRows(nn.Cell):
    """The rows of the end-of-text tokens among all [batch * length] rows of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.range = ops.Range()  # `ops.arange` takes a quarter of a second to compile

    def construct(self, ends: Tensor, length: int) -> Tensor:
        """ends: places in each row of tokens, int32 [batch, texts] → [batch * texts]."""
        batch = ends.shape[0]
        return (self.range(0, batch * length, length).reshape(batch, 1) + ends).reshape(-1)


class ImageTower(nn.Cell):
    """Pixels to image features: a vision transformer (Dosovitskiy et al. 2021) with a norm before its blocks."""

    def __init__(
        self,
        architecture: Architecture,
        tensors: Tensors,
        preprocessing: Preprocessing,
        dtype: ms.Type = ms.float32,
        activation: Activation = "quick_gelu",
    ) -> None:
        super().__init__()
        self.patch_size, self.dtype = architecture.patch_size, dtype
        self.mean = Tensor(255 * np.array(preprocessing.mean, np.float32))
        self.std = Tensor(255 * np.array(preprocessing.std, np.float32))
        self.conv1 = Linear(patch_kernel(tensors), None, dtype, "visual.conv1")
        self.class_embedding = named_parameter(tensors, "visual.class_embedding", dtype)
        self.positional_embedding = named_parameter(tensors, "visual.positional_embedding", dtype)
        self.ln_pre = LayerNorm(tensors, "visual.ln_pre")
        names = block_names("visual.transformer", architecture.vision_layers)
        heads = architecture.vision_heads
        self.resblocks = nn.CellList([Block(tensors, name, heads, dtype, activation) for name in names])
        self.ln_post = LayerNorm(tensors, "visual.ln_post")
        self.proj = projection(tensors, "visual.proj", dtype)
        self.transpose = ops.Transpose()

    def construct(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, image_size, image_size, 3] → float32 [batch, embed_dim], not yet of unit length."""
        batch, side, p = pixels.shape[0], pixels.shape[1], self.patch_size
        grid = side // p
        x = (pixels.astype(ms.float32) - self.mean) / self.std
        x = self.transpose(x.reshape(batch, grid, p, grid, p * 3), (0, 1, 3, 2, 4))  # [batch, grid, grid, p, p * 3]
        x = x.reshape(batch * grid * grid, p * p * 3)  # a patch a row
        x = self.conv1(x.astype(self.dtype))  # [batch * grid * grid, width]
        width = x.shape[-1]
        class_token = self.class_embedding.broadcast_to((batch, 1, width))
        x = ops.concat((class_token, x.reshape(batch, grid * grid, width)), 1)  # [batch, 1 + grid * grid, width]
        x = x + self.positional_embedding
        x = self.ln_pre(x.reshape(-1, width))  # [batch * length, width]
        for block in self.resblocks:
            x = block(x, batch, None)
        x = x.reshape(batch, -1, width)[:, 0]  # the class token, [batch, width]
        return self.proj(self.ln_post(x)).astype(ms.float32)  # [batch, embed_dim]


class TextTower(nn.Cell):
    """Tokens to text features: a transformer in which a token sees those before it, read at the end-of-text token.

    A row of tokens may hold several texts (`prefix_packing.py`); which token sees which is an input.
    """

    def __init__(
        self,
        architecture: Architecture,
        tensors: Tensors,
        dtype: ms.Type = ms.float32,
        activation: Activation = "quick_gelu",
    ) -> None:
        super().__init__()
        self.token_embedding = named_parameter(tensors, "token_embedding.weight", dtype)
        self.positional_embedding = named_parameter(tensors, "positional_embedding", dtype)
        names = block_names("transformer", architecture.text_layers)
        heads = architecture.text_heads
        self.resblocks = nn.CellList([Block(tensors, name, heads, dtype, activation) for name in names])
        self.ln_final = LayerNorm(tensors, "ln_final")
        self.text_projection = projection(tensors, "text_projection", dtype)
        self.end_rows = EndRows()

    def construct(self, tokens: Tensor, positions: Tensor, visible: Tensor, ends: Tensor) -> Tensor:
        """Tokens → float32 [batch * texts, embed_dim], not yet of unit length.

        Args:
            tokens: int32 [batch, length].
            positions: the place of each token in its text, int32 [batch, length].
            visible: which tokens (last axis) each token sees, bool [batch, length, length].
            ends: the places in the row of the texts' end-of-text tokens, int32 [batch, texts].
        """
        batch, length = tokens.shape
        x = ops.gather(self.token_embedding, tokens.reshape(-1), 0)  # [batch * length, width]
        x = x + ops.gather(self.positional_embedding, positions.reshape(-1), 0)
        mask = ops.where(visible, 0.0, MASKED)  # [batch, length, length]
        for block in self.resblocks:
            x = block(x, batch, mask)
        x = ops.gather(x, self.end_rows(ends, length), 0)  # [batch * texts, width]
        return self.text_projection(self.ln_final(x)).astype(ms.float32)  # [batch * texts, embed_dim]


def parameter(array: NDArray[np.float32], dtype: ms.Type, name: str) -> Parameter:
    """A parameter that shares the memory of a float32 array where that is its dtype: weights are large."""
    shared = dtype == ms.float32 and array.flags.c_contiguous and array.flags.writeable
    return Parameter(Tensor.from_numpy(array) if shared else Tensor(array, dtype), name=name)


def named_parameter(tensors: Tensors, name: str, dtype: ms.Type) -> Parameter:
    """The parameter of a tensor, by its name."""
    return parameter(tensors[name], dtype, name)


def linear(tensors: Tensors, name: str, dtype: ms.Type) -> Linear:
    """A linear layer with bias, by its name."""
    return Linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"], dtype, name)


def projection(tensors: Tensors, name: str, dtype: ms.Type) -> Linear:
    """A projection into the shared space, which is stored [width, embed_dim]."""
    return Linear(np.ascontiguousarray(tensors[name].T), None, dtype, name)


def patch_kernel(tensors: Tensors) -> NDArray[np.float32]:
    """The patch embedding as a matrix [width, p * p * 3]: pixels come channels last, the kernel is [width, 3, p, p]."""
    kernel = tensors["visual.conv1.weight"].transpose(0, 2, 3, 1)
    return np.ascontiguousarray(kernel.reshape(len(kernel), -1))


def block_names(tower: str, layers: int) -> list[str]:
    """The names of a tower's blocks."""
    return [f"{tower}.resblocks.{layer}" for layer in range(layers)]
