"""Images or texts, in batches of a fixed shape, to unit vectors on a device."""

import ctypes
import gc
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from functools import cached_property
from itertools import islice
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray
from PIL import Image

from zeroshot.data.image_source import load_image
from zeroshot.errors import ZeroshotError
from zeroshot.interrupts import uninterrupted
from zeroshot.models import padded_texts, prefix_packing
from zeroshot.models.architecture import Activation, Architecture, Score, Tensors
from zeroshot.models.feature_batch import FeatureBatch, concatenated
from zeroshot.models.network import image_tower, text_tower
from zeroshot.models.preprocess import Preprocessing
from zeroshot.models.tokenizer import TextTokenizer, Tokenizer

Features = NDArray[np.float32]
Pixels = NDArray[np.uint8]

CPU_TOKENS_PER_BATCH = 800  # with more, the activations of a layer leave the CPU's cache

# MindSpore mixes up the inputs and outputs of graphs that two threads run at once, and can't compile two at once
_mindspore_lock = threading.RLock()
_process = os.getpid()  # which MindSpore was imported in: it does not survive a fork


class Encoder:
    """A model on a device. Features are float32 [N, embed_dim] of unit length; `logit_scale` is exponentiated.

    `logit_bias` is a float where scores are sigmoid(logit scale × cosine + logit bias), a label's own, and None where
    they are softmax(logit scale × cosine) over all labels. Threads may share an encoder: they take turns on the device.

    Args:
        architecture: the sizes of the network.
        tensors: its weights, by the names of `Architecture.shapes`.
        preprocessing: how images are resized and normalised; by default as OpenAI does.
        target: "CPU" runs the quick form of the towers (`cpu.py`), every other device the plain one (`towers.py`).
        dtype: "float32", "float16" or "bfloat16".
        activation: of the MLPs, which a checkpoint was trained with; BERT's own is the exact GELU.
        batch_size: images in a batch, by default as many as have `CPU_TOKENS_PER_BATCH` tokens; a short last batch is
            padded, since each shape is compiled separately.
        workers: threads that read and resize images.
        open_image: returns the RGB image behind an item to encode; threads call it.
        tokenizer: of the family of the architecture; by default OpenAI's.
        score: what the model's scores are; "sigmoid" for weights with a logit bias alone.
    """

    def __init__(
        self,
        architecture: Architecture,
        tensors: Tensors,
        preprocessing: Preprocessing | None = None,
        *,
        target: str = "CPU",
        dtype: str = "float32",
        activation: Activation = "quick_gelu",
        batch_size: int | None = None,
        workers: int = 2,
        open_image: Callable[[Any], Image.Image] = load_image,
        tokenizer: TextTokenizer | None = None,
        score: Score = "softmax",
    ) -> None:
        self.architecture = architecture
        self.preprocessing = preprocessing or Preprocessing(architecture.image_size)
        self.batch_size = batch_size or max(1, CPU_TOKENS_PER_BATCH // architecture.image_positions)
        self.logit_scale = float(np.exp(np.float64(tensors["logit_scale"])))
        self.logit_bias = float(tensors["logit_bias"]) if score == "sigmoid" else None
        self._workers, self._open_image = workers, open_image
        self._on_cpu, self._dtype, self._activation = target == "CPU", getattr(ms, dtype), activation
        self._tensors = dict(tensors)  # of the towers that are not built yet
        if tokenizer is None and architecture.family != "clip":
            raise ZeroshotError(f"an encoder of the family {architecture.family} needs its tokenizer: give tokenizer=")
        self.tokenizer: TextTokenizer = tokenizer or Tokenizer(architecture.context_length)

    def __reduce__(self) -> tuple[Any, ...]:
        raise ZeroshotError("an encoder can't be pickled: build it in each process, or send zeroshot.pipeline's object")

    def feature_batches(self, images: Iterable[Any], batch_size: int | None = None) -> Generator[FeatureBatch]:
        """The features of images, a batch at a time, in order; images are read ahead in threads.

        An image that can't be read leaves its slot in the batch empty, so that the others keep theirs. Each new
        `batch_size` is compiled.
        """
        size = batch_size or self.batch_size
        side = self.architecture.image_size
        start = 0
        with closing(self.read(images)) as pixels:
            while batch := list(islice(pixels, size)):
                slots = np.zeros((size, side, side, 3), np.uint8)
                errors: dict[int, ZeroshotError] = {}
                for slot, item in enumerate(batch):
                    if isinstance(item, ZeroshotError):
                        errors[start + slot] = item
                    else:
                        slots[slot] = item
                readable = [slot for slot in range(len(batch)) if start + slot not in errors]
                features = self.encode_pixels(slots)[readable] if readable else self._no_features()
                yield FeatureBatch(start + np.array(readable, np.int64), features, errors)
                start += len(batch)

    def read(self, images: Iterable[Any]) -> Generator[Pixels | ZeroshotError]:
        """Each image as uint8 [image_size, image_size, 3], or why it can't be read; in order, read ahead in threads."""
        source = iter(images)
        pool = ThreadPoolExecutor(self._workers)
        waiting: deque[Future[Pixels | ZeroshotError]] = deque()
        try:
            ahead = 2 * self.batch_size + self._workers
            waiting.extend(pool.submit(self._read, image) for image in islice(source, ahead))
            while waiting:
                item = waiting.popleft().result()
                waiting.extend(pool.submit(self._read, image) for image in islice(source, 1))
                yield item
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def encode_pixels(self, pixels: Pixels) -> Features:
        """The unit features [N, embed_dim] of a whole batch of pixels, uint8 [N, image_size, image_size, 3]."""
        with self._turn(), uninterrupted():
            features = self._image_tower(Tensor(pixels)).asnumpy()
        return _unit(features)

    def encode_image(self, images: Sequence[Any] | NDArray[np.uint8]) -> Features:
        """Unit image features [N, embed_dim], float32, of a list of images or one uint8 array [N, H, W, 3].

        Raises:
            ZeroshotError: an image can't be read, or it is not a list.
        """
        return concatenated(self.feature_batches, images, self.architecture.embed_dim)

    def encode_text(self, texts: Iterable[str]) -> Features:
        """Unit text features [N, embed_dim]; equal texts, and equal beginnings, are computed once.

        The same texts have the same bits; among other texts a feature may differ in its last ones.

        Raises:
            ZeroshotError: a text has more tokens than the model reads, or it is one text and not several.
        """
        if isinstance(texts, str):
            raise ZeroshotError(f"encode_text takes several texts: put {texts!r} in [ ]")
        texts = list(texts)
        distinct = list(dict.fromkeys(texts))
        ids = self.tokenizer.ids(distinct)
        if self.architecture.family == "clip":
            ordered = sorted(set(ids))
            packed = prefix_packing.batches(ordered)
        else:
            ordered = padded_texts.ordered(ids)
            packed = padded_texts.batches(ordered, self.architecture)
        features = [self._no_features()]
        for batch in packed:
            inputs = [Tensor(each) for each in (batch.tokens, batch.positions, batch.visible, batch.ends)]
            with self._turn(), uninterrupted():
                found = self._text_tower(*inputs).asnumpy()
            features.append(_unit(found[batch.slots]))
        places = {row: place for place, row in enumerate(ordered)}
        place = {text: places[row] for text, row in zip(distinct, ids, strict=True)}
        return np.concatenate(features)[[place[text] for text in texts]]

    def encode_text_blocks(self, blocks: Iterable[Sequence[str]]) -> Iterator[Features]:
        """The features of several lists of texts, one after the other."""
        return map(self.encode_text, blocks)

    @cached_property
    def _image_tower(self) -> Callable[[Tensor], Tensor]:  # built at its first use: there may be none
        tower = image_tower(*self._network())
        self._drop_tensors(visual=True)
        return _compiled(tower.construct)

    @cached_property
    def _text_tower(self) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        tower = text_tower(*self._network())
        self._drop_tensors(visual=False)
        return _compiled(tower.construct)

    def _network(self) -> tuple[Architecture, Tensors, Preprocessing, Activation, ms.Type, bool]:
        return self.architecture, self._tensors, self.preprocessing, self._activation, self._dtype, self._on_cpu

    def _drop_tensors(self, visual: bool) -> None:
        """Drops the weights of a tower that was built from them: it has its own."""
        for name in [name for name in self._tensors if name.startswith("visual.") == visual]:
            del self._tensors[name]

    def _turn(self) -> threading.RLock:
        """The lock of MindSpore.

        Raises:
            ZeroshotError: this process was forked from the one that imported MindSpore.
        """
        if os.getpid() != _process:
            raise ZeroshotError(
                "MindSpore can't run in a forked process: start it with multiprocessing.get_context('spawn'), "
                "or encode in the parent"
            )
        return _mindspore_lock

    def _no_features(self) -> Features:
        return np.zeros((0, self.architecture.embed_dim), np.float32)

    def _read(self, image: Any) -> Pixels | ZeroshotError:
        try:
            return self.preprocessing(self._open_image(image))
        except ZeroshotError as error:
            return error


def release() -> None:
    """Frees the memory of encoders that nobody holds any more: MindSpore keeps graphs and weights otherwise.

    An encoder that is still held compiles its towers once more when it is next used.
    """
    with _mindspore_lock, uninterrupted():
        gc.collect()  # towers and their compiled methods refer to each other
        ms.ms_memory_recycle()
        ms.jit(nn.Identity().construct)(Tensor([0.0]))  # MindSpore keeps the weights of the last network it compiled
        gc.collect()
    with suppress(AttributeError, OSError):  # only the GNU C library has it, and keeps what was freed without it
        ctypes.CDLL(None).malloc_trim(0)


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function as a graph, compiled at its first call, never taken from MindSpore's compile cache.

    That cache, which an environment may turn on, tells graphs apart by source files alone: measured in 2.10, a network
    with GELU was given the graph of one with QuickGELU, and its features were the latter's.
    """
    os.environ["MS_COMPILER_CACHE_ENABLE"] = "0"
    return ms.jit(function)  # type: ignore[no-any-return]


def _unit(features: NDArray[np.float32]) -> Features:
    if not np.isfinite(features).all():
        raise ZeroshotError("the network computed features that are not finite: try device.dtype=float32")
    unit: Features = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit
