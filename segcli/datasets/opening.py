"""Opens whatever dataset a config or a command line names."""

from dataclasses import replace
from pathlib import Path

from segcli.config import DatasetConfig
from segcli.datasets.dataset import Dataset
from segcli.datasets.explicit import open_folders
from segcli.datasets.layouts import LAYOUTS, Layout, shapes
from segcli.datasets.obtaining import can_be_fetched
from segcli.datasets.prepared import DESCRIPTION, open_prepared, prepared_source
from segcli.datasets.processes import Progress, silent
from segcli.datasets.source import Options, Source
from segcli.errors import DataError, UsageError, did_you_mean
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
            if folder is not None and not folder.is_dir():
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
            dataset = _as_trained(card, open_dataset(DatasetConfig.model_validate(card.data["dataset"]), progress))
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


def _as_trained(card: ModelCard, dataset: Dataset) -> Dataset:
    """The dataset, with a remark where it is no longer what the model was trained on."""
    if card.data.get("fingerprint") == dataset.fingerprint:
        return dataset
    remark = "the data has changed since the model was trained on it; figures may not compare"
    return replace(dataset, remarks=[*dataset.remarks, remark])


def open_source(root: Path, layout: str | None, options: Options) -> Source:
    """Finds a dataset in any layout, to be checked or measured.

    Args:
        root: a prepared dataset, a folder with images/ and masks/, or a native dataset.
        layout: its layout; None tells it by what lies in the folder.
        options: how to read it, where the layout leaves that open.

    Raises:
        UsageError: if the folder is no dataset.
        DataError: if it cannot be read at all.
    """
    if layout is not None:
        refuse_useless(find_layout(layout), options)
        return find_layout(layout).find(root, options)
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    if (root / DESCRIPTION).is_file():
        return prepared_source(root)
    if (root / options.images).is_dir() and (root / options.masks).is_dir():
        return LAYOUTS["folder"].find(root, options)
    for known in LAYOUTS.values():
        if known.fits(root):
            refuse_useless(known, options)
            return known.find(root, options)
    raise UsageError(
        f"{root} is no dataset: neither {DESCRIPTION} nor {options.images}/ and {options.masks}/ are there, nor any "
        f"layout that seg knows; name the folders with --images and --masks"
    )


def refuse_useless(layout: Layout, options: Options) -> None:
    """Raises UsageError for options that a layout has no use for, since its classes and splits are fixed."""
    if options.variant is not None and options.variant not in layout.variants:
        known = f"has {' and '.join(layout.variants)}" if layout.variants else "has none"
        raise UsageError(f"--variant {options.variant}: {layout.name} {known}")
    if not layout.open and replace(options, variant=None) != Options():
        raise UsageError(
            f"{layout.name} knows its own folders, classes and splits; leave out the options that say how to read them"
        )


def find_layout(name: str) -> Layout:
    """A layout by its name; raises UsageError where there is none."""
    if name not in LAYOUTS:
        raise UsageError(f"unknown layout {name!r}; {did_you_mean(name, LAYOUTS)}")
    return LAYOUTS[name]


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
    source = " --from DIR" if layout.needs_folder and not can_be_fetched(layout.name) else ""
    target = "" if root == Path("data") / layout.name else f" --to {root}"
    return f"{root} is no prepared dataset (no {DESCRIPTION} there). Make it:\n{command}{source}{target}"
