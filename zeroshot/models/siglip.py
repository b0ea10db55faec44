"""The SigLIP network as published (Zhai et al. 2023; Tschannen et al. 2025): image tower and text tower.

Activations are rows, [batch * length, width], as in `towers.py`; so are the names of tensors where CLIP has them too.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from zeroshot.models.architecture import Activation, Architecture, Tensors
from zeroshot.models.preprocess import Preprocessing
from zeroshot.models.towers import (
    MLP,
    Attention,
    Block,
    EndRows,
    LayerNorm,
    Linear,
    block_names,
    linear,
    named_parameter,
    parameter,
    patch_kernel,
)

EPSILON = 1e-6  # of every LayerNorm


class AttentionPool(nn.Cell):
    """A whole image to one vector: a learned query, the probe, attends to all patches; then an MLP with residual."""

    def __init__(self, tensors: Tensors, name: str, heads: int, dtype: ms.Type, activation: Activation) -> None:
        super().__init__()
        self.probe = parameter(tensors[f"{name}.probe"].reshape(1, -1), dtype, f"{name}.probe")
        self.attn = Attention(tensors, f"{name}.attn", heads, dtype)
        self.ln_2 = LayerNorm(tensors, f"{name}.ln_2", EPSILON)
        self.mlp = MLP(tensors, f"{name}.mlp", dtype, activation)

    def construct(self, x: Tensor, batch: int) -> Tensor:
        """[batch * length, width] → [batch, width]."""
        queries = self.probe.broadcast_to((batch, x.shape[-1]))
        x = self.attn.attend(queries, x, batch, None)  # [batch, width]
        return x + self.mlp(self.ln_2(x))


class SiglipImageTower(nn.Cell):
    """Pixels to image features: a vision transformer without a class token, pooled by attention."""

    def __init__(
        self,
        architecture: Architecture,
        tensors: Tensors,
        preprocessing: Preprocessing,
        dtype: ms.Type = ms.float32,
        activation: Activation = "gelu_tanh",
    ) -> None:
        super().__init__()
        self.patch_size, self.dtype = architecture.patch_size, dtype
        self.mean = Tensor(255 * np.array(preprocessing.mean, np.float32))
        self.std = Tensor(255 * np.array(preprocessing.std, np.float32))
        self.conv1 = Linear(patch_kernel(tensors), tensors["visual.conv1.bias"], dtype, "visual.conv1")
        self.positional_embedding = named_parameter(tensors, "visual.positional_embedding", dtype)
        names = block_names("visual.transformer", architecture.vision_layers)
        heads = architecture.vision_heads
        self.resblocks = nn.CellList([Block(tensors, name, heads, dtype, activation, EPSILON) for name in names])
        self.ln_post = LayerNorm(tensors, "visual.ln_post", EPSILON)
        self.pool = AttentionPool(tensors, "visual.pool", heads, dtype, activation)
        self.transpose = ops.Transpose()

    def construct(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, image_size, image_size, 3] → float32 [batch, embed_dim], not yet of unit length.

        Pixels at the right and at the bottom that do not fill a patch are left out.
        """
        batch, side, p = pixels.shape[0], pixels.shape[1], self.patch_size
        grid = side // p
        x = (pixels[:, : grid * p, : grid * p].astype(ms.float32) - self.mean) / self.std
        x = x.reshape(batch, grid, p, grid, p * 3)
        x = self.transpose(x, (0, 1, 3, 2, 4))  # [batch, grid, grid, p, p * 3]
        x = x.reshape(batch * grid * grid, p * p * 3)  # a patch a row
        x = self.conv1(x.astype(self.dtype))  # [batch * length, width], length = grid * grid
        width = x.shape[-1]
        x = x.reshape(batch, grid * grid, width) + self.positional_embedding
        x = x.reshape(-1, width)
        for block in self.resblocks:
            x = block(x, batch, None)
        return self.pool(self.ln_post(x), batch).astype(ms.float32)  # [batch, embed_dim]


class SiglipTextTower(nn.Cell):
    """Tokens to text features: a transformer in which a token sees all others, padding too, read at the last one."""

    def __init__(
        self,
        architecture: Architecture,
        tensors: Tensors,
        dtype: ms.Type = ms.float32,
        activation: Activation = "gelu_tanh",
    ) -> None:
        super().__init__()
        self.token_embedding = named_parameter(tensors, "token_embedding.weight", dtype)
        self.positional_embedding = named_parameter(tensors, "positional_embedding", dtype)
        names = block_names("transformer", architecture.text_layers)
        heads = architecture.text_heads
        self.resblocks = nn.CellList([Block(tensors, name, heads, dtype, activation, EPSILON) for name in names])
        self.ln_final = LayerNorm(tensors, "ln_final", EPSILON)
        self.head = linear(tensors, "head", dtype)
        self.end_rows = EndRows()

    def construct(self, tokens: Tensor, positions: Tensor, visible: Tensor, ends: Tensor) -> Tensor:
        """As `towers.TextTower.construct`, of texts padded to the context length; all tokens are visible."""
        batch, length = tokens.shape
        x = ops.gather(self.token_embedding, tokens.reshape(-1), 0)  # [batch * length, width]
        x = x + ops.gather(self.positional_embedding, positions.reshape(-1), 0)
        for block in self.resblocks:
            x = block(x, batch, None)
        x = ops.gather(x, self.end_rows(ends, length), 0)  # [batch, width]
        return self.head(self.ln_final(x)).astype(ms.float32)  # [batch, embed_dim]
