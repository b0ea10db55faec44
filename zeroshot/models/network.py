"""The towers of an architecture: those of its family, in the quick form on a CPU and in the plain one elsewhere."""

import mindspore as ms
from mindspore import nn

from zeroshot.models.architecture import Activation, Architecture, Tensors
from zeroshot.models.chinese_clip import BertTextTower
from zeroshot.models.cpu import CpuImageTower, CpuTextTower
from zeroshot.models.cpu_siglip import CpuSiglipImageTower, CpuSiglipTextTower, FoldedSiglip
from zeroshot.models.folded import Folded
from zeroshot.models.preprocess import Preprocessing
from zeroshot.models.siglip import SiglipImageTower, SiglipTextTower
from zeroshot.models.towers import ImageTower, TextTower


def image_tower(
    size: Architecture,
    tensors: Tensors,
    preprocessing: Preprocessing,
    activation: Activation,
    dtype: ms.Type,
    on_cpu: bool,
) -> nn.Cell:
    """The image tower: uint8 [batch, image_size, image_size, 3] → float32 [batch, embed_dim]."""
    if size.family == "siglip":
        if on_cpu:
            return CpuSiglipImageTower(size, FoldedSiglip(size, tensors, preprocessing, activation), activation)
        return SiglipImageTower(size, tensors, preprocessing, dtype, activation)
    if on_cpu:
        return CpuImageTower(size, Folded(size, tensors, preprocessing, activation), activation)
    return ImageTower(size, tensors, preprocessing, dtype, activation)


def text_tower(
    size: Architecture,
    tensors: Tensors,
    preprocessing: Preprocessing,
    activation: Activation,
    dtype: ms.Type,
    on_cpu: bool,
) -> nn.Cell:
    """The text tower, whose inputs are those of `towers.TextTower`. Chinese-CLIP's has one form for every device."""
    match size.family:
        case "chinese_clip":
            return BertTextTower(size, tensors, dtype)
        case "siglip" if on_cpu:
            folded = FoldedSiglip(size, tensors, preprocessing, activation)
            return CpuSiglipTextTower(size, folded, activation)
        case "siglip":
            return SiglipTextTower(size, tensors, dtype, activation)
    if on_cpu:
        return CpuTextTower(size, Folded(size, tensors, preprocessing, activation), activation)
    return TextTower(size, tensors, dtype, activation)
