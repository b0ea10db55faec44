"""`stage=download`: fetches what a run would need, for a machine that is offline later."""

import logging

from zeroshot.config.schema import Cifar, Config
from zeroshot.stages.dataset import cifar_folder
from zeroshot.stages.weights import weights_path

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Fetches the model's weights and the data set where they have an address, and logs their paths.

    Raises:
        ZeroshotError: no source gives them.
    """
    log.info("weights: %s", weights_path(config.model))
    if isinstance(config.dataset, Cifar):
        log.info("data: %s", cifar_folder(config.dataset))
    else:
        log.info("data: dataset=%s is not downloaded", config.dataset.name)
