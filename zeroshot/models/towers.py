"""The CLIP network, image tower and text tower, as MindSpore cells (Radford et al. 2021; names as in openai/CLIP).

A tower is built from the tensors of a checkpoint by their names there and knows nothing else; its operations come in
the two forms of `forms.py`.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from zeroshot.models.architecture import HEAD_WIDTH, Activation, Architecture, Tensors
from zeroshot.models.forms import PLAIN, Dense, Form, LayerNorm, dense, parameter
from zeroshot.models.preprocess import MEAN, STD

MASKED = -1e9  # added to the logits of positions that attention must not see


class Attention(nn.Cell):
    """Multi-head attention, heads 64 wide, from all positions or some to all of the same input."""

    def __init__(self, tensors: Tensors, name: str, width: int, dtype: ms.Type, form: Form) -> None:
        super().__init__()
        self.scale = 1.0 if form.folded else HEAD_WIDTH**-0.5
        self.q, self.k, self.v = (
            Dense(weight, None if form.folded and not bias.any() else bias, dtype, f"{name}.{part}")
            for part, weight, bias in zip(
                "qkv",
                np.split(tensors[f"{name}.in_proj_weight"], 3),
                np.split(tensors[f"{name}.in_proj_bias"], 3),
                strict=True,
            )
        )
        self.out_proj = dense(tensors, f"{name}.out_proj", dtype)
        self.heads = form.heads(width // HEAD_WIDTH)
        self.similarity = ops.BatchMatMul(transpose_b=True)
        self.mix = ops.BatchMatMul()
        self.softmax = ops.Softmax(axis=-1)

    def construct(self, asking: Tensor, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        """asking: [batch * queries, width], x: [batch * length, width], mask: [heads, batch, queries, length]."""
        q = self.heads.apart(self.q(asking), batch)
        k, v = self.heads.apart(self.k(x), batch), self.heads.apart(self.v(x), batch)
        if self.scale != 1.0:
            q = q * self.scale
        logits = self.similarity(q, k).astype(ms.float32)
        if mask is not None:
            logits = logits + mask
        return self.out_proj(self.heads.together(self.mix(self.softmax(logits).astype(v.dtype), v)))


class Block(nn.Cell):
    """A pre-norm residual block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(
        self, tensors: Tensors, name: str, width: int, dtype: ms.Type, form: Form, activation: Activation
    ) -> None:
        super().__init__()
        self.ln_1 = form.norm(tensors, f"{name}.ln_1")
        self.attn = Attention(tensors, f"{name}.attn", width, dtype, form)
        self.ln_2 = form.norm(tensors, f"{name}.ln_2")
        self.mlp = form.mlp(tensors, f"{name}.mlp", dtype, form.activation(activation))

    def construct(self, x: Tensor, batch: int, mask: Tensor | None) -> Tensor:  # [batch * length, width]
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, batch, mask)
        return x + self.mlp(self.ln_2(x))

    def pooled(self, x: Tensor, rows: Tensor, batch: int, mask: Tensor | None) -> Tensor:
        """The block's output at one position of each input alone, `rows` [batch] of x: exact, and all that is read."""
        normed = self.ln_1(x)
        x = ops.gather(x, rows, 0) + self.attn(ops.gather(normed, rows, 0), normed, batch, mask)
        return x + self.mlp(self.ln_2(x))  # [batch, width]


class ImageTower(nn.Cell):
    """Pixels to image features: the vision transformer (Dosovitskiy et al. 2021) with CLIP's norm before its blocks."""

    def __init__(
        self,
        size: Architecture,
        tensors: Tensors,
        dtype: ms.Type = ms.float32,
        form: Form = PLAIN,
        activation: Activation = "quick_gelu",
    ) -> None:
        super().__init__()
        width = size.vision_width
        self.patch_size, self.dtype, self.folded = size.patch_size, dtype, form.folded
        # pixels come channels last, so the kernel's [width, 3, p, p] becomes one row of p * p * 3 per output
        kernel = tensors["visual.conv1.weight"].transpose(0, 2, 3, 1).reshape(width, -1)
        self.conv1 = Dense(np.ascontiguousarray(kernel), None, dtype, "visual.conv1")
        self.class_embedding = parameter(tensors, "visual.class_embedding", dtype)
        self.positional_embedding = parameter(tensors, "visual.positional_embedding", dtype)
        self.ln_pre = LayerNorm(tensors, "visual.ln_pre")
        names = [f"visual.transformer.resblocks.{layer}" for layer in range(size.vision_layers)]
        self.resblocks = nn.CellList([Block(tensors, name, width, dtype, form, activation) for name in names])
        self.ln_post = form.norm(tensors, "visual.ln_post")
        self.proj = projection(tensors, "visual.proj", dtype)
        self.mean, self.std = Tensor(MEAN * 255), Tensor(STD * 255)
        self.transpose = ops.Transpose()
        self.bias_add = ops.BiasAdd()

    def construct(self, pixels: Tensor) -> Tensor:
        """uint8 [batch, image_size, image_size, 3] → fp32 [batch, embed_dim], not yet of unit length."""
        batch, side, p = pixels.shape[0], pixels.shape[1], self.patch_size
        grid = side // p
        if not self.folded:
            pixels = (pixels.astype(ms.float32) - self.mean) / self.std
        patches = self.transpose(pixels.reshape(batch, grid, p, grid, p * 3), (0, 1, 3, 2, 4))
        patches = patches.reshape(batch * grid * grid, p * p * 3)  # a patch a row
        x = self.conv1(patches.astype(self.dtype)).reshape(batch, grid * grid, -1)
        length, width = grid * grid + 1, x.shape[-1]
        if self.folded:  # one bias over a whole image spares the broadcasts; it holds the class embedding too
            x = ops.concat((ops.zeros((batch, 1, width), self.dtype), x), 1).reshape(batch, length * width)
            x = self.bias_add(x, self.positional_embedding.reshape(length * width))
        else:
            x = ops.concat((self.class_embedding.broadcast_to((batch, 1, width)), x), 1) + self.positional_embedding
        x = self.ln_pre(x.reshape(batch * length, width))
        for block in self.resblocks[:-1]:
            x = block(x, batch, None)
        x = self.resblocks[-1].pooled(x, ops.arange(batch) * length, batch, None)  # the class token's
        return self.proj(self.ln_post(x)).astype(ms.float32)


class TextTower(nn.Cell):
    """Tokens to text features: a causal transformer, read at the end-of-text token."""

    def __init__(
        self,
        size: Architecture,
        tensors: Tensors,
        dtype: ms.Type = ms.float32,
        form: Form = PLAIN,
        activation: Activation = "quick_gelu",
    ) -> None:
        super().__init__()
        self.folded, self.heads = form.folded, size.text_width // HEAD_WIDTH
        self.token_embedding = parameter(tensors, "token_embedding.weight", dtype)
        self.positional_embedding = parameter(tensors, "positional_embedding", dtype)
        names = [f"transformer.resblocks.{layer}" for layer in range(size.text_layers)]
        self.resblocks = nn.CellList([Block(tensors, name, size.text_width, dtype, form, activation) for name in names])
        self.ln_final = form.norm(tensors, "ln_final")
        self.text_projection = projection(tensors, "text_projection", dtype)
        self.bias_add = ops.BiasAdd()

    def construct(self, tokens: Tensor, ends: Tensor) -> Tensor:
        """int32 [batch, length], and where each end-of-text token stands, int32 [batch] → fp32 [batch, embed_dim].

        `length` may be anything from the longest text of the batch to the context length: a causal tower's output at a
        position depends on nothing after it.
        """
        batch, length = tokens.shape
        positions = self.positional_embedding[:length]
        x = ops.gather(self.token_embedding, tokens.reshape(-1), 0)  # [batch * length, width]
        width = x.shape[-1]
        if self.folded:
            x = self.bias_add(x.reshape(batch, length * width), positions.reshape(-1)).reshape(batch * length, width)
        else:
            x = (x.reshape(batch, length, width) + positions).reshape(batch * length, width)
        steps = ops.arange(length)
        causal = ops.where(steps > steps.reshape(length, 1), MASKED, 0.0)  # [length, length]
        for block in self.resblocks[:-1]:
            x = block(x, batch, causal)
        seen = ops.where(steps > ends.reshape(batch, 1, 1), MASKED, 0.0)  # [batch, 1, length]
        x = self.resblocks[-1].pooled(x, ops.arange(batch) * length + ends, batch, seen)
        return self.text_projection(self.ln_final(x)).astype(ms.float32)

    def packed(self, tokens: Tensor, depths: Tensor, visible: Tensor, ends: Tensor) -> Tensor:
        """Tokens and depths, int32 [trees, positions], visible, bool [trees, positions, positions], and ends, int32
        [trees, texts] → fp32 [trees * texts, embed_dim], not yet of unit length.
        """
        trees, length = tokens.shape
        x = ops.gather(self.token_embedding, tokens.reshape(-1), 0)
        x = x + ops.gather(self.positional_embedding, depths.reshape(-1), 0)  # [trees * positions, width]
        mask = ops.where(visible, 0.0, MASKED)
        by_head = mask.broadcast_to((self.heads, trees, length, length))  # once for all blocks
        for block in self.resblocks[:-1]:
            x = block(x, trees, by_head)
        rows = (ops.arange(trees).reshape(trees, 1) * length + ends).reshape(-1)
        seen = ops.gather(mask.reshape(trees * length, length), rows, 0).reshape(trees, -1, length)
        x = self.resblocks[-1].pooled(x, rows, trees, seen)
        return self.text_projection(self.ln_final(x)).astype(ms.float32)


def projection(tensors: Tensors, name: str, dtype: ms.Type) -> Dense:
    """A projection into the shared space, stored [width, embed_dim]; it has a bias once a norm was folded into it."""
    return Dense(np.ascontiguousarray(tensors[name].T), tensors.get(f"{name}_bias"), dtype, name)
