"""Tells which layout a folder has."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from segcli.datasets.layouts.base import UNDEALT, Layout, Options, Source
from segcli.datasets.layouts.known import LAYOUTS
from segcli.errors import UsageError, did_you_mean
from segcli.io.files import walk

_LOOKED_INTO = 24  # annotation files, at least
_HEAD = 4096  # bytes in which an XML file says what it is


def detect(root: Path, options: Options) -> Layout | None:
    """The layout that a folder's content looks like; None where it looks like none."""
    if (root / options.images).is_dir() and (root / options.masks).is_dir():
        return LAYOUTS["folder"]
    fitting = [known for known in LAYOUTS.values() if known.fits(root)]
    annotated = _annotation_layout(root) if fitting in ([], [LAYOUTS["folder"]]) else None
    return annotated or (fitting[0] if fitting else None)


def _annotation_layout(root: Path) -> Layout | None:
    """The layout of most of the annotation files below a folder, of which a few dozen are looked into."""
    files = sorted(path for path in walk(root) if path.suffix.lower() in {".json", ".xml"})
    # Spread over the folder, so that the first of them do not decide alone.
    kinds = Counter(_kind(path) for path in files[:: max(len(files) // _LOOKED_INTO, 1)])
    del kinds[""]
    return LAYOUTS[kinds.most_common(1)[0][0]] if kinds else None


def _kind(path: Path) -> str:
    """The layout that an annotation file belongs to; empty where it is something else."""
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".xml":
            return "cvat" if b"<annotations>" in content[:_HEAD] else ""
        document = json.loads(content)
    except (OSError, ValueError, RecursionError):
        return ""
    held = {key for key, value in document.items() if isinstance(value, list)} if isinstance(document, dict) else set()
    if "shapes" in held:
        return "labelme"
    if {"images", "annotations"} <= held:
        return "coco"
    return "darwin" if "annotations" in held and ("item" in document or "image" in document) else ""


def refuse_useless(layout: Layout, options: Options) -> None:
    """Raises UsageError for options that a layout has no use for, since its classes and splits are fixed."""
    if options.variant is not None and options.variant not in layout.variants:
        known = f"has {' and '.join(layout.variants)}" if layout.variants else "has none"
        raise UsageError(f"--variant {options.variant}: {layout.name} {known}")
    if not layout.open and replace(options, variant=None) != Options():
        raise UsageError(
            f"{layout.name} knows its own folders, classes and splits; leave out the options that say how to read them"
        )
    for name, option in _OF_MASK_FILES.items() if layout.name != "folder" else ():
        if getattr(options, name) != getattr(Options(), name):
            raise UsageError(f"{option} is for files of masks, but {layout.name} draws its masks; leave it out")


_OF_MASK_FILES = {
    "image_name": "--image-name", "mask_name": "--mask-name", "palette": "--palette", "value_map": "--map",
    "ignore_index": "--ignore-index",
}  # fmt: skip


def find_source(layout: Layout, root: Path, options: Options) -> Source:
    """The source of a layout at a folder.

    Raises:
        UsageError: for options that would do nothing.
        DataError: if the layout is not what lies there.
    """
    refuse_useless(layout, options)
    source = layout.find(root, options)
    dealing = options.ratios is not None or options.names or options.group_by or options.seed
    if UNDEALT not in source.splits and dealing:
        raise UsageError(
            f"--ratios, --split-file, --group-by and --seed deal images to splits, but those of {root} lie in "
            f"{' and '.join(source.splits)} already; leave them out"
        )
    return source


def find_layout(name: str) -> Layout:
    """A layout by its name; raises UsageError where there is none."""
    if name not in LAYOUTS:
        raise UsageError(f"unknown layout {name!r}; {did_you_mean(name, LAYOUTS)}")
    return LAYOUTS[name]
