"""`stage=convert`: writes the model's weights as safetensors with OpenAI's tensor names."""

import logging
import shutil

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
        ZeroshotError: the output exists, or the weights can't be read.
    """
    output = expand_path(config.stage.output)
    if output.exists():
        raise ZeroshotError(f"{output} exists: choose another stage.output, or remove it")
    checkpoint, model = load_weights(config.model)
    tokenizer = tokenizer_file(checkpoint.path) if config.model.family is Family.siglip else None
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
    if tokenizer is not None:
        kind = next(name for name in TOKENIZER_FILES if tokenizer.name.endswith(name))
        beside = output.with_name(f"{output.stem}.{kind}")
        shutil.copyfile(tokenizer, beside)
        log.info("written: %s, which belongs to it", beside)
    log.info("identity: %s", model["weights"]["identity"] or "not known")
    digest = tensor_digest(checkpoint.tensors)
    log.info('its line in zeroshot/models/checkpoints/identities.json: "%s": "%s"', digest, config.model.name)
