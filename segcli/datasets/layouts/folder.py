"""Plain folders of images and masks, matched by name; their subfolders may be the splits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segcli.datasets.dataset import SPLITS
from segcli.datasets.layouts.base import SPLIT_NAMES, UNDEALT, Finding, Options, Pair, Source
from segcli.datasets.layouts.pairing import list_images, match_pairs
from segcli.datasets.layouts.palettes import class_names, colour_map, found_palette
from segcli.errors import DataError, UsageError
from segcli.io.files import walk
from segcli.io.images import SUFFIXES
from segcli.task import Colour, Task, check_classes, default_ignore_index


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
    source = Source(root.resolve().name, str(root), splits, findings=findings)
    return source if options.palette is None else _with_palette(source, options)


def _pairs(root: Path, options: Options) -> tuple[dict[str, list[Pair]], list[Finding]]:
    images, masks, colours = root / options.images, root / options.masks, options.palette is not None
    folders = sorted(path.name for path in root.iterdir() if (path / options.images).is_dir())
    homes = {} if images.is_dir() else {split: root / name for split, name in _by_split(root, folders).items()}
    if "train" in homes:
        layout = {split: (home / options.images, home / options.masks) for split, home in homes.items()}
    elif tops := _tops(images, masks):
        layout = {split: (images / top, masks / top) for split, top in tops.items()}
    else:
        _check_folders(root, options)
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


def _check_folders(root: Path, options: Options) -> None:
    """Raises DataError where one of the two folders is missing, with the folders that are there."""
    for name, option in ((options.images, "--images"), (options.masks, "--masks")):
        if not (root / name).is_dir():
            there = [path.name for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
            hint = f"{root} holds {', '.join(there[:8])}; name the one that is meant with {option}" if there else ""
            annotations = next((path for path in walk(root) if path.suffix.lower() in {".json", ".xml"}), None)
            if annotations is not None:
                hint = (
                    f"if {annotations.name} is an annotation, say of which kind: --layout coco, labelme, cvat or darwin"
                )
            raise DataError(f"{root / name}: no such folder; {hint or f'name another with {option}'}")


def _tops(images: Path, masks: Path) -> dict[str, str]:
    """By split, the name of its subfolder of images, where the subfolders are splits."""
    if not images.is_dir():
        return {}
    there = (path for path in images.iterdir() if not path.name.startswith(".") and path != masks)
    below = {path.name for path in there if path.is_dir() or path.suffix.lower() in SUFFIXES}
    splits = _by_split(images, sorted(below))
    if not splits:
        return {}
    if not {"train", "val"} <= splits.keys() or len(splits) < len(below):
        raise DataError(
            f"{images} holds {' and '.join(sorted(splits.values()))}, which looks like splits; these must be "
            f"train and val, maybe test, and hold all images. Rename or move the folders."
        )
    return splits


def _by_split(home: Path, names: Sequence[str]) -> dict[str, str]:
    """The folders that are splits, by split; raises DataError where two are the same one."""
    splits: dict[str, str] = {}
    for name in names:
        split = SPLIT_NAMES.get(name.casefold())
        if split in splits:
            raise DataError(f"{home} holds {splits[split]} and {name}, which both look like {split}; keep one")
        if split is not None:
            splits[split] = name
    return splits


def _with_palette(source: Source, options: Options) -> Source:
    """The source with its classes from a palette: the one given, or the colours found in the masks."""
    if options.value_map or options.ignore_index is not None:
        raise UsageError(
            "--palette says what each colour means; leave out --map and --ignore-index, and call the colour that is to "
            "be ignored `void`"
        )
    pairs = [item for items in source.splits.values() for item in items if isinstance(item, Pair)]
    palette: Mapping[str, Colour] = options.palette or found_palette(pairs)
    names = class_names(palette)
    if options.classes is not None and (isinstance(options.classes, int) or [*options.classes] != names):
        raise UsageError("--classes and --palette both name the classes; leave --classes out")
    if len(names) < 2:
        raise UsageError(f"--palette lists {len(names)} classes besides void, at least 2 needed; background is one too")
    ignored = default_ignore_index(len(names))
    task = Task.of(names, [palette[name] for name in names], ignored)
    return replace(source, task=task, value_map=colour_map(palette, ignored), colours=True)
