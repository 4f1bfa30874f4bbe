"""Opens whatever dataset a config or a command line names."""

from pathlib import Path

from segcli.config import DatasetConfig
from segcli.datasets import shapes
from segcli.datasets.dataset import Dataset
from segcli.datasets.explicit import open_folders
from segcli.datasets.layouts import LAYOUTS
from segcli.datasets.pairs import Progress, silent
from segcli.datasets.prepared import DESCRIPTION, open_prepared
from segcli.errors import DataError, UsageError
from segcli.io.card import ModelCard
from segcli.task import Task


def open_dataset(section: DatasetConfig, progress: Progress = silent) -> Dataset:
    """Opens the dataset that a config names.

    Raises:
        UsageError: if it is not there, with the command that makes it.
        DataError: if it is there and wrong.
    """
    if section.embedded is not None:
        return shapes.dataset()
    if section.root is not None:
        if not (section.root / DESCRIPTION).is_file():
            raise UsageError(_how_to_prepare(section.root))
        return open_prepared(section.root)
    folders = {}
    for split in ("train", "val", "test"):
        images, masks = getattr(section, f"{split}_images_dir"), getattr(section, f"{split}_masks_dir")
        if images is None:
            continue
        for key, folder in ((f"{split}_images_dir", images), (f"{split}_masks_dir", masks)):
            if not folder.is_dir():
                raise UsageError(f"dataset.{key}: {folder}: no such folder (from {Path.cwd()})")
        folders[split] = (images, masks)
    name = folders["train"][0].resolve().parent.name
    return open_folders(name, folders, section.classes, section.palette, section.ignore_index, section.map, progress)


def open_for_model(card: ModelCard, given: Path | None, progress: Progress = silent) -> Dataset:
    """Opens a dataset to use a model on; its classes are the model's.

    Args:
        card: what the model carries.
        given: a prepared dataset, or a folder with images/ and masks/ (read as the val split); None opens the
            dataset that the model was trained on.
        progress: told of each mask looked at.

    Raises:
        UsageError: if it is not there.
        DataError: if its classes are not the model's.
    """
    if given is None:
        try:
            dataset = open_dataset(DatasetConfig.model_validate(card.data["dataset"]), progress)
        except UsageError as error:
            raise UsageError(
                f"the dataset that the model was trained on is not here ({str(error).splitlines()[0]}); "
                f"go to the folder it was trained in, or give a dataset with -d"
            ) from None
    elif (given / DESCRIPTION).is_file():
        dataset = open_prepared(given, card.task.ignore_index)
    elif (given / "images").is_dir() and (given / "masks").is_dir():
        dataset = _open_like(card, given, progress)
    else:
        raise UsageError(f"{given} is no dataset: neither {DESCRIPTION} nor images/ and masks/ are there")
    if dataset.task.classes != card.task.classes:
        raise DataError(
            f"dataset {dataset.name} has {_listed(dataset.task)}, but the model knows {_listed(card.task)}; "
            f"give another dataset with -d"
        )
    return dataset


def _open_like(card: ModelCard, given: Path, progress: Progress) -> Dataset:
    """Opens images/ and masks/ as a val split whose values mean what they meant in training."""
    trained_on = DatasetConfig.model_validate(card.data["dataset"])
    folders = {"val": (given / "images", given / "masks")}
    task = card.task
    return open_folders(
        given.name, folders, task.classes, task.palette, trained_on.ignore_index, trained_on.map, progress
    )


def _listed(task: Task) -> str:
    more = ", …" if task.num_classes > 4 else ""
    return f"{task.num_classes} classes ({', '.join(task.classes[:4])}{more})"


def _how_to_prepare(root: Path) -> str:
    command = f"seg dataset prepare {root.name if root.name in LAYOUTS else 'folder'}"
    layout = LAYOUTS.get(root.name, LAYOUTS["folder"])
    source = " --from DIR" if layout.needs_folder else ""
    target = "" if root == Path("data") / layout.name else f" --to {root}"
    return f"{root} is no prepared dataset (no {DESCRIPTION} there). Make it:\n{command}{source}{target}"
