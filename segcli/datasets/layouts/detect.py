"""Tells which layout a folder has."""

import json
from dataclasses import replace
from pathlib import Path

from segcli.datasets.layouts import LAYOUTS
from segcli.datasets.layouts.annotations import files_below
from segcli.datasets.layouts.base import Layout, Options
from segcli.errors import UsageError, did_you_mean


def detect(root: Path, options: Options) -> Layout | None:
    """The layout that a folder's content looks like; None where it looks like none."""
    if (root / options.images).is_dir() and (root / options.masks).is_dir():
        return LAYOUTS["folder"]
    fitting = [known for known in LAYOUTS.values() if known.fits(root)]
    annotated = _annotation_layout(root) if fitting in ([], [LAYOUTS["folder"]]) else None
    return annotated or (fitting[0] if fitting else None)


def _annotation_layout(root: Path) -> Layout | None:
    """The layout of the first annotation file below a folder."""
    for path in files_below(root, ".json")[:1]:
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        keys = document.keys() if isinstance(document, dict) else set()
        marks = {"labelme": {"shapes"}, "coco": {"images", "annotations"}, "darwin": {"annotations"}}
        return next((LAYOUTS[name] for name, mark in marks.items() if mark <= keys), None)
    return LAYOUTS["cvat"] if files_below(root, ".xml") else None


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
