"""`stage=convert`: writes the model's weights as safetensors with OpenAI's tensor names."""

import logging
import shutil
from pathlib import Path

from zeroshot.config.named import settings
from zeroshot.config.paths import expand_path
from zeroshot.config.schema import Config, Family
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.identity import tensor_digest
from zeroshot.models.checkpoints.save import save
from zeroshot.models.siglip_tokenizer import FILES as TOKENIZER_FILES
from zeroshot.models.siglip_tokenizer import tokenizer_file
from zeroshot.stages.weights import load_weights

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Writes `stage.output`, and SigLIP's tokenizer beside it, and logs the digest by which weights are recognised.

    Raises:
        ZeroshotError: the output or another tokenizer beside it exists, or the weights can't be read.
    """
    output = expand_path(config.stage.output)
    if output.exists():
        raise ZeroshotError(f"{output} exists: choose another stage.output, or remove it")
    checkpoint, model = load_weights(config.model)
    copy = _tokenizer_copy(checkpoint.path, output) if config.model.family is Family.siglip else None
    save(
        checkpoint.tensors,
        output,
        config.stage.dtype.value,
        token_ids=checkpoint.token_ids,
        source=f"{checkpoint.path.name} ({model['weights']['format']}, sha256 {model['weights']['sha256']})",
        settings=settings(config.model),
        licence=config.model.weights.licence,
    )
    log.info("written: %s", output)
    if copy is not None:
        shutil.copyfile(*copy)
        log.info("written: %s, which belongs to it", copy[1])
    log.info("identity: %s", model["weights"]["identity"] or "not known")
    digest = tensor_digest(checkpoint.tensors)
    log.info('its line in zeroshot/models/checkpoints/identities.json: "%s": "%s"', digest, config.model.name)


def _tokenizer_copy(weights: Path, output: Path) -> tuple[Path, Path] | None:
    """The tokenizer of the weights, and where it belongs beside the output; None where it is there already.

    Raises:
        ZeroshotError: there is no tokenizer, or another file in its place.
    """
    tokenizer = tokenizer_file(weights)
    kind = next(name for name in TOKENIZER_FILES if tokenizer.name.endswith(name))
    beside = output.with_name(f"{output.stem}.{kind}")
    if not beside.exists():
        return tokenizer, beside
    if not beside.samefile(tokenizer):
        raise ZeroshotError(f"{beside}, where the tokenizer would be copied, exists: choose another stage.output")
    return None
