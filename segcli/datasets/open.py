"""Opens whatever dataset a config or a command line names."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

from segcli.config import DatasetConfig
from segcli.datasets.dataset import Dataset
from segcli.datasets.download.catalogue import can_be_fetched
from segcli.datasets.explicit import open_folders
from segcli.datasets.layouts import LAYOUTS, Layout, shapes
from segcli.datasets.layouts.base import Options, Source
from segcli.datasets.prepared.format import DESCRIPTION, is_prepared, open_prepared, prepared_source
from segcli.errors import DataError, UsageError, did_you_mean
from segcli.io.card import ModelCard
from segcli.parallel import Progress, silent
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
        refuse_missing(section)
        return open_prepared(section.root)
    refuse_missing(section)
    folders = {}
    for split in ("train", "val", "test"):
        images, masks = getattr(section, f"{split}_images_dir"), getattr(section, f"{split}_masks_dir")
        if images is not None:
            folders[split] = (images, masks)
    name = folders["train"][0].resolve().parent.name
    return open_folders(name, folders, section.classes, section.palette, section.ignore_index, section.map, progress)


def refuse_missing(section: DatasetConfig) -> None:
    """Raises UsageError where the dataset that a config names is not there, with the command that makes it."""
    if section.root is not None and not is_prepared(section.root):
        raise UsageError(_how_to_prepare(section.root))
    for split in ("train", "val", "test"):
        for key in (f"{split}_images_dir", f"{split}_masks_dir"):
            folder = getattr(section, key)
            if folder is not None and not folder.is_dir():
                raise UsageError(f"dataset.{key}: {folder}: no such folder (from {Path.cwd()})")


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
    elif is_prepared(given):
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
        problem = "is a file; give the dataset's folder" if root.is_file() else "no such folder"
        raise UsageError(f"{root}: {problem}")
    if is_prepared(root):
        if options != Options():
            raise UsageError(f"{root} is prepared: its classes and splits are known; leave out the options")
        return prepared_source(root)
    if (root / options.images).is_dir() and (root / options.masks).is_dir():
        return LAYOUTS["folder"].find(root, options)
    fitting = [known for known in LAYOUTS.values() if known.fits(root)]
    annotated = _annotation_layout(root) if fitting in ([], [LAYOUTS["folder"]]) else None
    known = annotated or (fitting[0] if fitting else None)
    if known is None:
        raise UsageError(
            f"{root} is no dataset: neither {DESCRIPTION} nor {options.images}/ and {options.masks}/ are there, nor "
            f"any layout that seg knows; name the folders with --images and --masks"
        )
    refuse_useless(known, options)
    return known.find(root, options)


def _annotation_layout(root: Path) -> Layout | None:
    """The layout of the first annotation file below a folder."""
    for path in sorted(root.rglob("*.json"))[:1]:
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        keys = document.keys() if isinstance(document, dict) else set()
        marks = {"labelme": {"shapes"}, "coco": {"images", "annotations"}, "darwin": {"annotations"}}
        return next((LAYOUTS[name] for name, mark in marks.items() if mark <= keys), None)
    return LAYOUTS["cvat"] if any(root.rglob("*.xml")) else None


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
    if (root / "images").is_dir():
        return f"{root} is no prepared dataset (no {DESCRIPTION} there)\nMake one of it:\n" + shlex.join(
            ["seg", "dataset", "prepare", "folder", "--from", str(root), "--to", f"data/{root.resolve().name}"]
        )
    command = f"seg dataset prepare {root.name if root.name in LAYOUTS else 'folder'}"
    layout = LAYOUTS.get(root.name, LAYOUTS["folder"])
    source = " --from DIR" if layout.needs_folder and not can_be_fetched(layout.name) else ""
    target = "" if root == Path("data") / layout.name else f" --to {root}"
    return f"{root} is no prepared dataset (no {DESCRIPTION} there)\nMake it:\n{command}{source}{target}"
