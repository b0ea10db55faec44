"""From the `dataset` config to labelled images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from zeroshot.config.paths import expand_path, home
from zeroshot.config.schema import Cifar, Csv, ImageFolder, Shapes, Unreadable
from zeroshot.data import cifar, csv_list, image_folder, shapes
from zeroshot.data.class_names import FOLDERS, NamesOption
from zeroshot.data.image_set import ImageSet
from zeroshot.downloads.archive import unpack
from zeroshot.downloads.fetch import Source, fetch
from zeroshot.errors import ZeroshotError

OFFLINE = "experiment=quickstart needs no download"


def load_dataset(dataset: Any) -> ImageSet:
    """The labelled images of the whole split; CIFAR is downloaded into `ZEROSHOT_HOME` if it is not there.

    Raises:
        ZeroshotError: they can't be read or downloaded.
    """
    return LOADERS[type(dataset)](dataset)


def _load_cifar(dataset: Cifar) -> ImageSet:
    names = None if dataset.class_names is None else expand_path(dataset.class_names)
    return cifar.load(cifar_folder(dataset), dataset.split.value, dataset.labels.value, dataset.name, names)


def _load_image_folder(dataset: ImageFolder) -> ImageSet:
    names, skip = _names_option(dataset.class_names), dataset.unreadable is Unreadable.skip
    return image_folder.load(expand_path(dataset.root), names, dataset.name, dataset.split, skip)


def _load_csv(dataset: Csv) -> ImageSet:
    return csv_list.load(expand_path(dataset.root), _names_option(dataset.class_names), dataset.name, dataset.split)


def _load_shapes(dataset: Shapes) -> ImageSet:
    return shapes.load(dataset.split.value, dataset.labels.value, dataset.name, dataset.seed, dataset.size)


LOADERS: dict[type, Callable[[Any], ImageSet]] = {
    Cifar: _load_cifar,
    ImageFolder: _load_image_folder,
    Csv: _load_csv,
    Shapes: _load_shapes,
}


def class_groups(dataset: Any, images: ImageSet) -> dict[str, list[int]]:
    """Class ids that are reported apart, by the name of their group; most data sets have no groups."""
    if not isinstance(dataset, Shapes) or images.label_kind != "fine":
        return {}
    unseen = [id for id, name in enumerate(images.classes) if name in shapes.UNSEEN]
    return {"seen pairs": sorted(set(range(len(images.classes))) - set(unseen)), "unseen pairs": unseen}


def cifar_folder(dataset: Cifar) -> Path:
    """The folder of a CIFAR; one below `ZEROSHOT_HOME` is downloaded and unpacked if it is not there."""
    root = expand_path(dataset.root)
    downloads = home() / "data"
    if root.exists() or not dataset.sources or root.parent != downloads:
        return root
    try:
        archive = fetch([Source(each.url, each.sha256 or "") for each in dataset.sources], downloads)
        return unpack(archive, root)
    except ZeroshotError as error:
        raise ZeroshotError(f"{root} does not exist: {error}; or set dataset.root to its folder; {OFFLINE}") from error


def _names_option(given: str | None) -> NamesOption:
    if given is None or given == FOLDERS:
        return FOLDERS if given else None
    return expand_path(given)
