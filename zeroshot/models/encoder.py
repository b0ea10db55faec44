"""Images or texts, in batches of a fixed shape, to unit vectors on a device."""

import ctypes
import gc
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray
from PIL import Image

from zeroshot.errors import ZeroshotError
from zeroshot.models import prefix_packing as packing
from zeroshot.models.architecture import Activation, Architecture, Tensors
from zeroshot.models.cores import pin_workers
from zeroshot.models.cpu import Folded
from zeroshot.models.forms import PLAIN, QUICK, Form
from zeroshot.models.preprocess import Interpolation, open_image, transform
from zeroshot.models.tokenizer import Tokenizer
from zeroshot.models.towers import ImageTower, TextTower

Features = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Source = str | Path | Image.Image | Pixels

ROWS = 800  # positions of a batch on a CPU: with more, a layer's arrays leave its cache


class Encoder:
    """A CLIP on a device. Features are float32 [N, embed_dim] of unit length; `logit_scale` is exponentiated.

    Args:
        size: the sizes of the network.
        tensors: its weights, by openai/CLIP's names (`zeroshot.models.checkpoints.checkpoint.load`).
        target: "CPU" gets the quick form of the towers, every other device the plain one.
        dtype: "float32", "float16" or "bfloat16".
        interpolation: the filter that resizes images.
        activation: of the MLPs; a checkpoint was trained with one of the two.
        batch_size: images in a batch, by default about as many as have `ROWS` positions; a short last batch is padded,
            since each shape is compiled anew.
        workers: threads that read and resize images beside the tower.
        opened: gives the RGB picture of an image that is to be encoded; the threads call it.
    """

    def __init__(
        self,
        size: Architecture,
        tensors: Tensors,
        *,
        target: str = "CPU",
        dtype: str = "float32",
        interpolation: Interpolation = "bicubic",
        activation: Activation = "quick_gelu",
        batch_size: int | None = None,
        workers: int = 2,
        opened: Callable[[Source], Image.Image] = open_image,
    ) -> None:
        self.size, self.interpolation = size, interpolation
        self.batch_size = batch_size or max(1, ROWS // (size.patches + 1))
        self.workers, self._opened = workers, opened
        self.logit_scale = float(np.exp(np.float64(tensors["logit_scale"])))
        self._tokenizer = Tokenizer()
        self._on_cpu = target == "CPU"
        form: Form = QUICK if self._on_cpu else PLAIN
        self._tensors = dict(tensors)  # of the towers that are not made yet
        given = Folded(self._tensors, activation) if form.folded else self._tensors
        self._parts = (size, given, getattr(ms, dtype), form, activation)

    @cached_property
    def _image_tower(self) -> Callable[[Tensor], Tensor]:  # made at its first use: there may be none
        tower = ImageTower(*self._parts)
        self._let_go(visual=True)
        return _compiled(tower.construct)

    @cached_property
    def _text_tower(self) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        tower = TextTower(*self._parts)
        self._let_go(visual=False)
        return _compiled(tower.packed)

    def _let_go(self, visual: bool) -> None:
        """Drops the weights of a tower that was made from them: it has its own, folded ones."""
        for name in [name for name in self._tensors if name.startswith("visual.") == visual]:
            del self._tensors[name]

    def pixels(self, images: Iterable[Source]) -> Iterator[Pixels | ZeroshotError]:
        """Each image as uint8 [image_size, image_size, 3], or why it can't be read; in order, read ahead in threads."""
        ahead = 2 * self.batch_size + self.workers
        source = iter(images)
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque[Future[Pixels | ZeroshotError]] = deque()
            try:
                waiting.extend(pool.submit(self._read, image) for image in islice(source, ahead))
                while waiting:
                    read = waiting.popleft().result()
                    waiting.extend(pool.submit(self._read, image) for image in islice(source, 1))
                    yield read
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def whole(pixels: Iterable[Pixels | ZeroshotError]) -> Iterator[Pixels]:
        """The images themselves; the first that could not be read is raised."""
        for item in pixels:
            if isinstance(item, ZeroshotError):
                raise item
            yield item

    def image_batches(self, pixels: Iterable[Pixels], batch_size: int | None = None) -> Iterator[Features]:
        """Features of images that `pixels` has made, a batch at a time; each new size of batch is compiled."""
        source, size = iter(pixels), batch_size or self.batch_size
        pinned = not self._on_cpu
        while batch := list(islice(source, size)):
            padded = np.zeros((size, *batch[0].shape), np.uint8)
            padded[: len(batch)] = batch
            features = self._image_tower(Tensor(padded)).asnumpy()[: len(batch)]
            if not pinned:  # only now are there workers
                pin_workers()
                pinned = True
            yield _unit(features)

    def encode_image(self, images: Sequence[Source] | NDArray[np.uint8]) -> Features:
        """Unit image features [N, embed_dim], float32, of a list of images or one uint8 array [N, H, W, 3].

        Raises:
            ZeroshotError: an image can't be read, or it is no list.
        """
        if isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim != 4):
            raise ZeroshotError("encode_image takes a list of images, or an array [N, height, width, 3]: put it in [ ]")
        batches = list(self.image_batches(self.whole(self.pixels(images))))
        return np.concatenate(batches) if batches else np.zeros((0, self.size.embed_dim), np.float32)

    def encode_text(
        self,
        texts: Sequence[str],
        part: Callable[[int], range] = range,
        gathered: Callable[[Features], Features] = lambda features: features,
    ) -> Features:
        """Unit text features [N, embed_dim]; equal texts, and equal beginnings, are computed once.

        The same texts give the same bits; in other company a text's feature may differ in its last ones.

        Args:
            texts: whatever has up to 77 tokens.
            part: which of so many batches are computed here, if the rest is elsewhere.
            gathered: the features of all batches, from those of this part.

        Raises:
            ZeroshotError: a text has more than 77 tokens, or it is no list.
        """
        if isinstance(texts, str):
            raise ZeroshotError(f"encode_text takes a list of texts: put {texts!r} in [ ]")
        distinct = list(dict.fromkeys(texts))
        tokens = self._tokenizer(distinct)
        lengths = tokens.argmax(axis=1) + 1  # the end-of-text token has the highest id
        ids = [tuple(row[:length].tolist()) for row, length in zip(tokens, lengths, strict=True)]
        places = {text: place for place, text in enumerate(sorted(set(ids)))}
        features = [np.zeros((0, self.size.embed_dim), np.float32)]
        batches = list(packing.batches(list(places)))
        mine = part(len(batches))
        for batch in batches[mine.start : mine.stop]:
            inputs = (Tensor(each) for each in (batch.tokens, batch.depths, batch.visible, batch.ends))
            features.append(_unit(self._text_tower(*inputs).asnumpy()[batch.slots]))
        place = {text: places[row] for text, row in zip(distinct, ids, strict=True)}
        return gathered(np.concatenate(features))[[place[text] for text in texts]]

    def _read(self, image: Source) -> Pixels | ZeroshotError:
        try:
            return transform(self._opened(image), self.size.image_size, self.interpolation)
        except ZeroshotError as error:
            return error


def release() -> None:
    """Gives back the memory of encoders that nobody holds any more: MindSpore keeps graphs and weights otherwise.

    An encoder that is still held compiles its towers once more when it is next used.
    """
    gc.collect()  # towers and their jitted methods refer to each other
    ms.ms_memory_recycle()
    ms.jit(nn.Identity().construct)(Tensor([0.0]))  # of the last network that was compiled MindSpore keeps the weights
    gc.collect()
    with suppress(AttributeError, OSError):  # not of the GNU C library, which would keep what was freed
        ctypes.CDLL(None).malloc_trim(0)


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function as a graph, compiled at its first call, never taken from MindSpore's compile cache.

    That cache, which an environment may turn on, tells graphs by source files alone: measured in 2.10, a network with
    GELU was given the graph of one with QuickGELU, and its features were the latter's.
    """
    os.environ["MS_COMPILER_CACHE_ENABLE"] = "0"
    return ms.jit(function)  # type: ignore[no-any-return]


def _unit(features: NDArray[np.float32]) -> Features:
    if not np.isfinite(features).all():
        raise ZeroshotError("the network gave features that are not finite: try device.dtype=float32")
    unit: Features = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit
