"""The towers that are timed: ours, and those of the peers, each in a process of its own.

    python -m tests.benchmarks.peers PEER MODEL

reads lines `BATCH ROUNDS` from standard input and answers each with the seconds of the quickest round.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.drawn import draw
from zeroshot.config.named import architecture, known_models, prompt_templates
from zeroshot.data import shapes
from zeroshot.models.architecture import Activation, Architecture, Family
from zeroshot.scoring.prompts import fill_templates
from zeroshot.stages.check import NumberTokenizer

THREADS = int(os.environ.get("BENCHMARK_THREADS", "2"))

ACTIVATIONS: dict[Family, Activation] = {"clip": "quick_gelu", "chinese_clip": "quick_gelu", "siglip": "gelu_tanh"}

Pixels = NDArray[np.uint8]
Run = Callable[[Pixels], NDArray[np.float32]]


def ours(size: Architecture) -> Run:
    """This package as it is used, but for the reading of images."""
    from zeroshot.models.encoder import Encoder

    tokenizer = NumberTokenizer(size.context_length)  # no text is read
    encoder = Encoder(size, draw(size), activation=ACTIVATIONS[size.family], tokenizer=tokenizer)
    return lambda pixels: encoder.encode_pixels(pixels)


def transformers(size: Architecture) -> Run:
    """Hugging Face's model on torch; it gets pixels that are normalised already."""
    import torch

    torch.set_num_threads(THREADS)
    tower = _torch_tower(size)

    @torch.no_grad()
    def run(pixels: Pixels) -> NDArray[np.float32]:
        features = tower(torch.from_numpy(_normalised(pixels)))
        return np.asarray((features / features.norm(dim=-1, keepdim=True)).numpy())

    return run


def onnxruntime(size: Architecture) -> Run:
    """The same tower exported to ONNX, on onnxruntime; it gets pixels that are normalised already."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    with TemporaryDirectory() as folder:
        session = ort.InferenceSession(_exported(size, folder), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": _normalised(pixels)})[0]


def openvino(size: Architecture) -> Run:
    """The exported tower on OpenVINO in float32, compiled for each batch size; it gets normalised pixels too."""
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": THREADS, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    with TemporaryDirectory() as folder:
        model = ov.Core().read_model(_exported(size, folder))

    @cache
    def compiled(batch: int) -> Any:
        model.reshape([batch, 3, size.image_size, size.image_size])
        return ov.Core().compile_model(model, "CPU", settings)

    return lambda pixels: compiled(len(pixels))(_normalised(pixels))[0]


def matmul(size: Architecture) -> Run:
    """Matrix products of the tower's largest layer and nothing else, by torch: the machine's best rate."""
    import torch

    torch.set_num_threads(THREADS)
    weight = torch.randn(4 * size.vision_width, size.vision_width)
    rows = torch.randn(2048, size.vision_width)
    return lambda _: (rows @ weight.T)[:1].numpy()


def _torch_tower(size: Architecture) -> Any:
    """Hugging Face's image tower, from normalised pixels to features."""
    import torch

    from tests.reference import transformers_clip, transformers_families

    if size.family == "siglip":
        built = transformers_families.model(size, draw(size), ACTIVATIONS[size.family])
        projection: Any = torch.nn.Identity()
    else:
        built = transformers_clip.model(size, draw(size))
        projection = built.visual_projection

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vision, self.projection = built.vision_model, projection

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.projection(self.vision(pixels).pooler_output)

    return Tower().eval()


def _exported(size: Architecture, folder: str) -> str:
    """The path of Hugging Face's image tower as an ONNX file for batches of any size."""
    import torch

    path = f"{folder}/tower.onnx"
    torch.onnx.export(
        _torch_tower(size),
        (torch.zeros(1, 3, size.image_size, size.image_size),),
        path,
        input_names=["pixels"],
        dynamic_axes={"pixels": {0: "batch"}},
        dynamo=False,
    )
    return path


def our_texts(size: Architecture) -> Run:
    """CIFAR-100's 1,800 prompts by this package: equal ones, and equal beginnings, once."""
    from zeroshot.models.encoder import Encoder

    encoder = Encoder(size, draw(size))
    return lambda _: encoder.encode_text(prompts())


def transformers_texts(size: Architecture) -> Run:
    """The same prompts on transformers, all 77 positions of each."""
    import torch

    from tests.reference import transformers_clip
    from zeroshot.models.tokenizer import Tokenizer

    torch.set_num_threads(THREADS)
    built, tokens = transformers_clip.model(size, draw(size)), Tokenizer()(prompts())

    def run(_: Pixels) -> NDArray[np.float32]:
        batches = [transformers_clip.text_features(built, tokens[i : i + 50]) for i in range(0, len(tokens), 50)]
        return np.concatenate(batches)

    return run


def prompts() -> list[str]:
    """100 names of two words in the 18 templates, as long as CIFAR-100's prompts are."""
    return fill_templates(shapes.FINE, prompt_templates("openai_cifar"), "spaces")


PEERS = {"ours": ours, "transformers": transformers, "onnxruntime": onnxruntime, "openvino": openvino, "matmul": matmul}
TEXT_PEERS = {"our texts": our_texts, "transformers texts": transformers_texts}

_cache: dict[int, NDArray[np.float32]] = {}


def _normalised(pixels: Pixels) -> NDArray[np.float32]:
    """The peers' float pixels [N, 3, S, S], made once: only the tower is timed."""
    if len(pixels) not in _cache:
        _cache[len(pixels)] = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / 255
    return _cache[len(pixels)]


def serve(peer: str, model: str) -> None:
    """Answers requests until standard input ends."""
    size = architecture(known_models()[model])
    run = (PEERS | TEXT_PEERS)[peer](size)
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        batch, rounds = map(int, line.split())
        pixels = np.random.default_rng(0).integers(0, 256, (batch, size.image_size, size.image_size, 3), np.uint8)
        run(pixels)  # compiles, and warms up
        seconds = []
        for _ in range(rounds):
            started = time.perf_counter()
            run(pixels)
            seconds.append(time.perf_counter() - started)
        print(min(seconds), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve(*sys.argv[1:])
