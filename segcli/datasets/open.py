"""Opens whatever dataset a config or a command line names."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segcli.config import DatasetConfig
from segcli.datasets.check.judge import Survey, survey
from segcli.datasets.check.kinds import Severity, check_command, refuse_errors, severity_of
from segcli.datasets.check.scan import LookCache, seen_pairs
from segcli.datasets.dataset import Dataset, fingerprint
from segcli.datasets.download.catalogue import can_be_fetched
from segcli.datasets.encoding import IN_CONFIG, NOWHERE, Classes, Spelling
from segcli.datasets.layouts import shapes
from segcli.datasets.layouts.base import SPLIT_NAMES, Options, Source
from segcli.datasets.layouts.detect import detect, find_layout, find_source
from segcli.datasets.layouts.known import LAYOUTS
from segcli.datasets.layouts.pairing import list_images, match_pairs
from segcli.datasets.prepared.format import DESCRIPTION, is_prepared, open_prepared, prepared_source
from segcli.errors import DataError, UsageError, nearest
from segcli.io.card import ModelCard
from segcli.parallel import Progress, silent
from segcli.task import Colour, Task

_PLAIN_NAMES = {*SPLIT_NAMES, "images", "image", "imgs", "img", "masks", "mask", "labels", "label", "annotations"}
"""Folders that say what lies in them, not of which dataset."""


def open_dataset(section: DatasetConfig, progress: Progress = silent) -> Dataset:
    """Opens the dataset that a config names.

    Raises:
        UsageError: if it is not there, with the command that makes it.
        DataError: if it is there and wrong.
    """
    if section.embedded is not None:
        return shapes.dataset()
    refuse_missing(section)
    if section.root is not None:
        return open_prepared(section.root)
    folders = {}
    for split in ("train", "val", "test"):
        images, masks = getattr(section, f"{split}_images_dir"), getattr(section, f"{split}_masks_dir")
        if images is not None:
            folders[split] = (images, masks)
    above = folders["train"][0].resolve().parents
    name = next((folder.name for folder in above if folder.name.lower() not in _PLAIN_NAMES), "")
    options = _as_options(section, section.classes, section.palette, IN_CONFIG)
    return open_folders(name or "dataset", folders, options, progress)


def _as_options(
    section: DatasetConfig, classes: Classes, palette: Sequence[Colour] | None, spelling: Spelling
) -> Options:
    colours = None if palette is None else {str(number): colour for number, colour in enumerate(palette)}
    return Options(
        palette=colours, classes=classes, ignore_index=section.ignore_index, value_map=section.map, spelling=spelling
    )


def refuse_missing(section: DatasetConfig) -> None:
    """Raises UsageError where the dataset that a config names is not there, with the command that makes it."""
    if section.root is not None and not is_prepared(section.root):
        raise UsageError(_what_instead(section.root))
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
    if given is None and "dataset" not in card.data:
        raise UsageError("the model does not say what it was trained on; give a dataset with -d")
    if given is None:
        try:
            dataset = open_dataset(DatasetConfig.model_validate(card.data["dataset"]), progress)
        except UsageError as error:
            raise UsageError(
                f"the dataset that the model was trained on is not here ({str(error).splitlines()[0]}); "
                f"go to the folder it was trained in, or give a dataset with -d"
            ) from None
        if card.data.get("fingerprint") != dataset.fingerprint:
            remark = "the data has changed since the model was trained on it; figures may not compare"
            dataset = replace(dataset, remarks=[*dataset.remarks, remark])
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


def open_source(root: Path, layout: str | None = None, options: Options | None = None) -> Source:
    """Finds a dataset in any layout, to be checked or measured.

    Args:
        root: a prepared dataset, a folder with images/ and masks/, or a native dataset.
        layout: its layout; None tells it by what lies in the folder.
        options: how to read it, where the layout leaves that open.

    Raises:
        UsageError: if the folder is no dataset.
        DataError: if it cannot be read at all.
    """
    options = options or Options()
    if layout is not None:
        return find_source(find_layout(layout), root, options)
    if not root.is_dir():
        problem = "is a file; give the dataset's folder" if root.is_file() else "no such folder"
        raise UsageError(f"{root}: {problem}")
    if is_prepared(root):
        if options != Options():
            raise UsageError(f"{root} is prepared: its classes and splits are known; leave out the options")
        return prepared_source(root)
    known = detect(root, options)
    if known is None:
        raise UsageError(
            f"{root} is no dataset: neither {DESCRIPTION} nor {options.images}/ and {options.masks}/ are there, nor "
            f"any layout that seg knows; name the folders with --images and --masks"
        )
    return find_source(known, root, options)


def _open_like(card: ModelCard, given: Path, progress: Progress) -> Dataset:
    """Opens images/ and masks/ as a val split whose values mean what they meant in training."""
    folders = {"val": (given / "images", given / "masks")}
    trained_on = DatasetConfig.model_validate(card.data.get("dataset", {"root": given}))
    options = _as_options(trained_on, card.task.classes, card.task.palette, NOWHERE)
    return open_folders(given.name, folders, options, progress)


def _listed(task: Task) -> str:
    more = ", …" if task.num_classes > 4 else ""
    return f"{task.num_classes} classes ({', '.join(task.classes[:4])}{more})"


def _what_instead(root: Path) -> str:
    """What to say where a prepared dataset is missing: one called alike, else the command that makes it."""
    meant = nearest(root.name, [path.parent.name for path in root.parent.glob(f"*/{DESCRIPTION}")])
    if meant is not None and not root.exists() and root.name not in LAYOUTS:
        return f"dataset.root: {root}: no such folder; did you mean {root.parent / meant}?"
    missing = f"{root} is no prepared dataset (no {DESCRIPTION} there)"
    if (root / "images").is_dir():
        goal = f"data/{root.resolve().name}"
        return (
            f"{missing}\nMake one of it:\nseg dataset prepare folder {shlex.join(['--from', str(root), '--to', goal])}"
        )
    layout = LAYOUTS.get(root.name, LAYOUTS["folder"])
    source = " --from DIR" if layout.needs_folder and not can_be_fetched(layout.name) else ""
    target = "" if root == Path("data") / layout.name else f" --to {root}"
    return f"{missing}\nMake it:\nseg dataset prepare {layout.name}{source}{target}"


def open_folders(
    name: str, folders: Mapping[str, tuple[Path, Path | None]], options: Options, progress: Progress = silent
) -> Dataset:
    """Opens folders, by split of images and of masks (None where there are none), as a dataset.

    Files that changed since they were last seen are decoded.

    Raises:
        DataError: naming the file that is missing, damaged, of the wrong size or holds a value without a class.
    """
    splits, alone = {}, []
    for split, (images, masks) in folders.items():
        splits[split], findings = match_pairs(images, masks) if masks else list_images(images)
        alone += findings
    origin = os.path.commonpath([images.resolve() for images, _ in folders.values()])
    source = Source(name, origin, splits, findings=alone)
    found = survey(source, options, progress, LookCache(source))
    command = _how_to_check(folders, options, found)
    refuse_errors((finding for finding in found.findings if finding.kind != "duplicate"), command)
    remarks = _few([finding.message for finding in found.findings if severity_of(finding) is not Severity.NOTE])
    encoding, figures = found.settled(), found.class_figures()
    held = {
        split: [encoding.classes_among(look.values or {}) for look in looks] for split, looks in found.looks.items()
    }
    return Dataset(name, encoding.task, found.samples(), figures, _fingerprint(found), remarks=remarks, held=held)


def _fingerprint(found: Survey) -> str:
    """Changes with any image, any mask, and with what the values mean."""
    encoding = found.settled()
    pairs = seen_pairs(found.source, found.looks)
    rows = ((seen.name, seen.look.image_digest, seen.look.mask_digest) for seen in pairs)
    return fingerprint(rows, repr((encoding.task.to_json(), sorted(encoding.value_map.items()))))


def _few(remarks: Sequence[str], number: int = 3) -> list[str]:
    more = len(remarks) - number
    return [*remarks[:number], *([f"… and {more} more findings of this kind"] if more > 0 else [])]


def _how_to_check(folders: Mapping[str, tuple[Path, Path | None]], options: Options, found: Survey) -> str:
    """The commands that check folders one by one, with the classes that they have together."""
    number = None if found.encoding is None or found.in_doubt else found.encoding.task.num_classes
    said = [f"--classes {number}"] if number is not None else []
    said += [f"--map {value}={index}" for value, index in options.value_map.items()]
    said += [f"--ignore-index {options.ignore_index}"] if options.ignore_index is not None else []
    commands = []
    for images, masks in folders.values():
        if masks is not None:
            root = Path(os.path.commonpath([images.resolve(), masks.resolve()]))
            below = [os.path.relpath(folder.resolve(), root) for folder in (images, masks)]
            names = shlex.join(["--images", below[0], "--masks", below[1]])
            commands.append(check_command(root, " ".join([names, *said])))
    return "; ".join(commands)
