"""Plain folders of images and masks, matched by name; their subfolders may be the splits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segcli.datasets.colours import colour_map, found_palette
from segcli.datasets.dataset import SPLITS
from segcli.datasets.findings import Finding
from segcli.datasets.pairs import Pair, list_images, match_pairs
from segcli.datasets.source import SPLIT_NAMES, UNDEALT, Options, Source
from segcli.errors import DataError, UsageError
from segcli.task import Colour, Task, check_classes


def find(root: Path, options: Options) -> Source:
    """Finds the pairs below a folder.

    Where images and masks lie in `train`, `val` (and `test`) subfolders of both, or where `train/images` and
    `train/masks` and so on lie below the root, these are the splits; a test split may have no masks.

    Raises:
        DataError: if a folder is missing, or the subfolders are half of a split.
        UsageError: if the options do not fit.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if options.classes is not None and not isinstance(options.classes, int):
        try:
            check_classes(options.classes)
        except ValueError as error:
            raise UsageError(f"--{error}") from None
    splits, findings = _pairs(root, options)
    if UNDEALT not in splits and (options.ratios is not None or options.names or options.group_by):
        raise UsageError(
            "--split, --names and --group-by deal images to splits, but they lie in train and val already; "
            "leave them out"
        )
    source = Source(root.resolve().name, str(root), splits, findings=findings)
    return source if options.palette is None else _with_palette(source, options)


def _pairs(root: Path, options: Options) -> tuple[dict[str, list[Pair]], list[Finding]]:
    images, masks, colours = root / options.images, root / options.masks, options.palette is not None
    homes = {split: root / name for name, split in SPLIT_NAMES.items() if (root / name / options.images).is_dir()}
    if not images.is_dir() and "train" in homes:
        layout = {split: (home / options.images, home / options.masks) for split, home in homes.items()}
    elif tops := _tops(images):
        layout = {split: (images / top, masks / top) for split, top in tops.items()}
    else:
        pairs, findings = match_pairs(images, masks, options.image_name, options.mask_name, colours)
        return {UNDEALT: pairs}, findings
    splits: dict[str, list[Pair]] = {}
    findings = []
    for split in sorted(layout, key=SPLITS.index):
        of_images, of_masks = layout[split]
        if split == "test" and not of_masks.is_dir():
            splits[split], alone = list_images(of_images, options.image_name)
        else:
            splits[split], alone = match_pairs(of_images, of_masks, options.image_name, options.mask_name, colours)
        findings += alone
    return splits, findings


def _tops(images: Path) -> dict[str, str]:
    """By split, the name of its subfolder of images, where the subfolders are splits."""
    if not images.is_dir():
        return {}
    below = {path.name for path in images.iterdir() if not path.name.startswith(".")}
    splits = {SPLIT_NAMES[name]: name for name in sorted(below) if name in SPLIT_NAMES}
    if not splits:
        return {}
    if not {"train", "val"} <= splits.keys() or len(splits) < len(below):
        raise DataError(
            f"{images} holds {' and '.join(sorted(splits.values()))}, which looks like splits; these must be "
            f"train and val, maybe test, and hold all images. Rename or move the folders."
        )
    return splits


def _with_palette(source: Source, options: Options) -> Source:
    """The source with its classes from a palette: the one given, or the colours found in the masks."""
    palette: Mapping[str, Colour] = options.palette or found_palette(_all_pairs(source))
    ignored = options.ignore_index or 255
    value_map, names = colour_map(palette, ignored)
    if options.classes is not None and not isinstance(options.classes, int) and [*options.classes] != names:
        raise UsageError("--classes and --palette both name the classes; leave --classes out")
    task = Task.of(names, [palette[name] for name in names], ignored)
    return replace(source, task=task, value_map=value_map, colours=True)


def _all_pairs(source: Source) -> Sequence[Pair]:
    return [item for items in source.splits.values() for item in items if isinstance(item, Pair)]
