"""A torch module with the structure and the parameter names of openai/CLIP, to be filled with drawn weights."""

# mypy: disable-error-code="misc"
# (torch is not there to say what `nn.Module` is)

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zeroshot.models.architecture import CONTEXT_LENGTH, HEAD_WIDTH, VOCABULARY, Architecture


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x)"""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class ResidualAttentionBlock(nn.Module):
    """Attention and MLP, each behind its norm, over [positions, batch, width]."""

    def __init__(self, width: int, mask: Tensor | None, activation: nn.Module) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // HEAD_WIDTH)
        self.ln_1 = nn.LayerNorm(width)
        layers = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", activation), ("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ln_2 = nn.LayerNorm(width)
        self.attn_mask = mask

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        mask = None if self.attn_mask is None else self.attn_mask.to(x.dtype)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks, one after another."""

    def __init__(self, width: int, layers: int, mask: Tensor | None, activation: type[nn.Module]) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*[ResidualAttentionBlock(width, mask, activation()) for _ in range(layers)])

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.resblocks(x)
        return found


class VisionTransformer(nn.Module):
    """Pixels [N, 3, S, S] → features [N, embed_dim]"""

    def __init__(self, size: Architecture, activation: type[nn.Module]) -> None:
        super().__init__()
        width = size.vision_width
        self.conv1 = nn.Conv2d(3, width, size.patch_size, size.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(size.patches + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, size.vision_layers, None, activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, size.embed_dim))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x).transpose(0, 1)).transpose(0, 1)
        found: Tensor = self.ln_post(x[:, 0]) @ self.proj
        return found


class CLIP(nn.Module):
    """Both towers; `forward` gives their features. OpenAI's archives carry the three sizes as tensors."""

    def __init__(self, size: Architecture, activation: type[nn.Module] = QuickGELU) -> None:
        super().__init__()
        mask = torch.full((CONTEXT_LENGTH, CONTEXT_LENGTH), float("-inf")).triu(1)
        self.visual = VisionTransformer(size, activation)
        self.transformer = Transformer(size.text_width, size.text_layers, mask, activation)
        self.token_embedding = nn.Embedding(VOCABULARY, size.text_width)
        self.positional_embedding = nn.Parameter(torch.empty(CONTEXT_LENGTH, size.text_width))
        self.ln_final = nn.LayerNorm(size.text_width)
        self.text_projection = nn.Parameter(torch.empty(size.text_width, size.embed_dim))
        self.logit_scale = nn.Parameter(torch.empty([]))
        self.register_buffer("input_resolution", torch.tensor(size.image_size))
        self.register_buffer("context_length", torch.tensor(CONTEXT_LENGTH))
        self.register_buffer("vocab_size", torch.tensor(VOCABULARY))

    def encode_text(self, text: Tensor) -> Tensor:
        x = self.token_embedding(text) + self.positional_embedding
        x = self.ln_final(self.transformer(x.transpose(0, 1)).transpose(0, 1))
        found: Tensor = x[torch.arange(len(x)), text.argmax(dim=-1)] @ self.text_projection
        return found

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return self.visual(image), self.encode_text(text)


def build(
    size: Architecture, tensors: Mapping[str, NDArray[np.float32]], activation: type[nn.Module] = QuickGELU
) -> CLIP:
    """A CLIP with these weights, float32, ready to run."""
    with torch.device("meta"):
        model = CLIP(size, activation)
    for name in ("input_resolution", "context_length", "vocab_size"):
        value = {"input_resolution": size.image_size, "context_length": CONTEXT_LENGTH, "vocab_size": VOCABULARY}[name]
        model.register_buffer(name, torch.tensor(value))
    mask = torch.full((CONTEXT_LENGTH, CONTEXT_LENGTH), float("-inf")).triu(1)
    for block in model.transformer.resblocks:
        block.attn_mask = mask
    state: dict[str, Any] = {name: torch.tensor(values) for name, values in tensors.items()}
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    assert not unexpected
    assert set(missing) <= {"input_resolution", "context_length", "vocab_size"}
    return model.eval().requires_grad_(False)


def save_archive(model: CLIP, size: Architecture, path: str) -> None:
    """A TorchScript archive of `model`, traced as OpenAI's were."""
    dtype = model.text_projection.dtype
    image = torch.zeros(1, 3, size.image_size, size.image_size, dtype=dtype)
    text = torch.zeros(1, CONTEXT_LENGTH, dtype=torch.int64)
    torch.jit.save(torch.jit.trace(model, (image, text), check_trace=False), path)
