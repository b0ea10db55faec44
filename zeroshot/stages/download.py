"""`stage=download`: fetches what a run would need, for a machine that is offline later."""

import logging

from zeroshot.config.schema import Cifar, Config
from zeroshot.errors import ZeroshotError
from zeroshot.models.checkpoints.files import weights_file
from zeroshot.stages.dataset import cifar_folder
from zeroshot.stages.weights import weights_path

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Fetches the model's weights and the data set where they have an address, and logs their paths.

    Raises:
        ZeroshotError: no source gives them, or there is nothing at the path of the user's own.
    """
    log.info("weights: %s", weights_file(weights_path(config.model)))
    if isinstance(config.dataset, Cifar):
        folder = cifar_folder(config.dataset)
        if not folder.is_dir():
            raise ZeroshotError(f"dataset.root={folder} is not a folder: leave dataset.root out to download the data")
        log.info("data: %s", folder)
    else:
        log.info("data: dataset=%s is not downloaded", config.dataset.name)
