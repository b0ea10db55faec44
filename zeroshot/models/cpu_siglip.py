"""SigLIP's towers in their quick form for CPUs: the same function as `siglip.py` with the operations of `cpu.py`."""

import numpy as np
from mindspore import Tensor, nn, ops

from zeroshot.models.architecture import Activation, Architecture, Tensors
from zeroshot.models.cpu import FLOAT32, CpuBlock, CpuMLP, RowNorm, all_block_weights, mlp_weights
from zeroshot.models.folded import Array, Folded
from zeroshot.models.siglip import EPSILON
from zeroshot.models.towers import EndRows, Linear, linear, named_parameter, parameter, patch_kernel

POOL = "visual.pool"


class FoldedSiglip(Folded):
    """As `Folded`; the bias of the patches goes into their positions, the last norms into what follows them."""

    def __getitem__(self, name: str) -> Array:
        tensors = self._tensors
        match name:
            case "visual.positional_embedding":
                shift = np.einsum("ocij,c->o", tensors["visual.conv1.weight"], -self._mean / self._std)
                positions: Array = tensors[name] + tensors["visual.conv1.bias"] + shift
                return positions
            case "head.weight":
                return tensors[name] * tensors["ln_final.weight"]
            case "head.bias":
                return self._shifted("ln_final", "head.weight", tensors[name])
        return super().__getitem__(name)

    def _norm_before(self, block: str) -> str:
        return "visual.ln_post" if block == POOL else super()._norm_before(block)

    def pool_queries(self, heads: int) -> Array:
        """What each head of the pool looks for: the probe's scaled query, through the keys' matrix [heads, width]."""
        weight, bias = (self._tensors[f"{POOL}.attn.in_proj_{part}"] for part in ("weight", "bias"))
        width = weight.shape[1]
        query = (weight[:width] @ self._tensors[f"{POOL}.probe"].reshape(-1) + bias[:width]) * (width / heads) ** -0.5
        keys = self[f"{POOL}.attn.in_proj_weight"][width : 2 * width]
        found: Array = np.einsum("hd,hdw->hw", query.reshape(heads, -1), keys.reshape(heads, -1, width))
        return found

    def pool_values(self, heads: int) -> Array:
        """The values' matrix of each head of the pool [heads, head width, width]."""
        weight = self[f"{POOL}.attn.in_proj_weight"]
        width = weight.shape[1]
        return weight[2 * width :].reshape(heads, width // heads, width)


class CpuAttentionPool(nn.Cell):
    """`siglip.AttentionPool`: its query is the same for all images, so keys and values of patches are not needed."""

    def __init__(self, tensors: FoldedSiglip, heads: int, activation: Activation) -> None:
        super().__init__()
        self.heads = heads
        self.queries = Linear(tensors.pool_queries(heads), None, FLOAT32, f"{POOL}.queries")
        self.values = parameter(tensors.pool_values(heads), FLOAT32, f"{POOL}.values")
        self.out_proj = linear(tensors, f"{POOL}.attn.out_proj", FLOAT32)
        self.mlp, self.mlp_weights = CpuMLP(activation, EPSILON), mlp_weights(tensors, f"{POOL}.mlp")
        self.transpose = ops.Transpose()
        self.softmax = ops.Softmax(axis=-1)
        self.weighted_sum = ops.BatchMatMul()
        self.matmul = ops.BatchMatMul(transpose_b=True)

    def construct(self, x: Tensor, batch: int) -> Tensor:
        """[batch * length, width] → [batch, width]."""
        width = x.shape[-1]
        logits = self.transpose(self.queries(x).reshape(batch, -1, self.heads), (0, 2, 1))  # [batch, heads, length]
        y = self.weighted_sum(self.softmax(logits), x.reshape(batch, -1, width))  # [batch, heads, width]
        y = self.matmul(self.transpose(y, (1, 0, 2)), self.values)  # [heads, batch, head width]
        y = self.out_proj(self.transpose(y, (1, 0, 2)).reshape(batch, width))
        return self.mlp(y, self.mlp_weights)


class CpuSiglipImageTower(nn.Cell):
    """`siglip.SiglipImageTower` for CPUs."""

    def __init__(self, architecture: Architecture, tensors: FoldedSiglip, activation: Activation) -> None:
        super().__init__()
        self.patch_size = architecture.patch_size
        self.conv1 = Linear(patch_kernel(tensors), None, FLOAT32, "visual.conv1")
        self.positional_embedding = named_parameter(tensors, "visual.positional_embedding", FLOAT32)
        heads = architecture.vision_heads
        self.block = CpuBlock(heads, activation, EPSILON)
        self.weights = all_block_weights(tensors, "visual.transformer", architecture.vision_layers)
        self.ln_post = RowNorm(EPSILON)
        self.pool = CpuAttentionPool(tensors, heads, activation)
        self.transpose = ops.Transpose()
        self.bias_add = ops.BiasAdd()

    def construct(self, pixels: Tensor) -> Tensor:
        """As `siglip.SiglipImageTower.construct`."""
        batch, side, p = pixels.shape[0], pixels.shape[1], self.patch_size
        grid = side // p
        if side % p:
            pixels = pixels[:, : grid * p, : grid * p]
        x = self.transpose(pixels.reshape(batch, grid, p, grid, p * 3), (0, 1, 3, 2, 4))
        x = self.conv1(x.reshape(batch * grid * grid, p * p * 3).astype(FLOAT32))
        length, width = grid * grid, x.shape[-1]
        x = x.reshape(batch, length * width)  # one bias over a whole image instead of broadcasts
        x = self.bias_add(x, self.positional_embedding.reshape(length * width))
        x = x.reshape(batch * length, width)
        for weights in self.weights:
            x = self.block(x, batch, None, weights)
        return self.pool(self.ln_post(x), batch)


class CpuSiglipTextTower(nn.Cell):
    """`siglip.SiglipTextTower` for CPUs."""

    def __init__(self, architecture: Architecture, tensors: Tensors, activation: Activation) -> None:
        super().__init__()
        self.token_embedding = named_parameter(tensors, "token_embedding.weight", FLOAT32)
        self.positional_embedding = named_parameter(tensors, "positional_embedding", FLOAT32)
        self.block = CpuBlock(architecture.text_heads, activation, EPSILON)
        self.weights = all_block_weights(tensors, "transformer", architecture.text_layers)
        self.ln_final = RowNorm(EPSILON)
        self.head = linear(tensors, "head", FLOAT32)
        self.end_rows = EndRows()

    def construct(self, tokens: Tensor, positions: Tensor, visible: Tensor, ends: Tensor) -> Tensor:
        """As `siglip.SiglipTextTower.construct`."""
        batch, length = tokens.shape
        x = ops.gather(self.token_embedding, tokens.reshape(-1), 0)
        x = x + ops.gather(self.positional_embedding, positions.reshape(-1), 0)
        for weights in self.weights[:-1]:
            x = self.block(x, batch, None, weights)
        x = self.block.at_rows(x, self.end_rows(ends, length), batch, None, self.weights[-1])
        return self.head(self.ln_final(x))
