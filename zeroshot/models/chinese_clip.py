"""Chinese-CLIP's text tower, a BERT (Yang et al. 2022; Devlin et al. 2019). Its image tower is CLIP's (`towers.py`).

Activations are rows, [batch * length, width], as in `towers.py`; so are the names of tensors, to which BERT adds the
embedding of a token's type and the norm behind the embeddings.
"""

import mindspore as ms
from mindspore import Tensor, nn, ops

from zeroshot.models.architecture import Architecture, Tensors
from zeroshot.models.towers import MASKED, MLP, Attention, EndRows, LayerNorm, block_names, named_parameter, projection

EPSILON = 1e-12  # of every LayerNorm of the text tower


class PostNormBlock(nn.Cell):
    """A post-norm residual block: norm(x + attention(x)), then norm(x + mlp(x)), with the exact GELU."""

    def __init__(self, tensors: Tensors, name: str, heads: int, dtype: ms.Type) -> None:
        super().__init__()
        self.attn = Attention(tensors, f"{name}.attn", heads, dtype)
        self.ln_1 = LayerNorm(tensors, f"{name}.ln_1", EPSILON)
        self.mlp = MLP(tensors, f"{name}.mlp", dtype, "gelu")
        self.ln_2 = LayerNorm(tensors, f"{name}.ln_2", EPSILON)

    def construct(self, x: Tensor, batch: int, mask: Tensor) -> Tensor:
        x = self.ln_1(x + self.attn(x, batch, mask))  # [batch * length, width]
        return self.ln_2(x + self.mlp(x))


class BertTextTower(nn.Cell):
    """Tokens to text features: a transformer in which a token sees its whole text, read at the first token, [CLS]."""

    def __init__(self, architecture: Architecture, tensors: Tensors, dtype: ms.Type = ms.float32) -> None:
        super().__init__()
        self.token_embedding = named_parameter(tensors, "token_embedding.weight", dtype)
        self.positional_embedding = named_parameter(tensors, "positional_embedding", dtype)
        self.token_type_embedding = named_parameter(tensors, "token_type_embedding", dtype)
        self.ln_embedding = LayerNorm(tensors, "ln_embedding", EPSILON)
        names = block_names("transformer", architecture.text_layers)
        heads = architecture.text_heads
        self.resblocks = nn.CellList([PostNormBlock(tensors, name, heads, dtype) for name in names])
        self.text_projection = projection(tensors, "text_projection", dtype)
        self.end_rows = EndRows()

    def construct(self, tokens: Tensor, positions: Tensor, visible: Tensor, ends: Tensor) -> Tensor:
        """As `towers.TextTower.construct`; `ends` [batch, 1] are the places of [CLS]."""
        batch, length = tokens.shape
        x = ops.gather(self.token_embedding, tokens.reshape(-1), 0)  # [batch * length, width]
        x = x + self.token_type_embedding[0]  # there is one text alone, of type 0
        x = x + ops.gather(self.positional_embedding, positions.reshape(-1), 0)
        x = self.ln_embedding(x)
        mask = ops.where(visible, 0.0, MASKED)  # [batch, length, length]
        for block in self.resblocks:
            x = block(x, batch, mask)
        x = ops.gather(x, self.end_rows(ends, length), 0)  # [batch, width]
        return self.text_projection(x).astype(ms.float32)  # [batch, embed_dim]
