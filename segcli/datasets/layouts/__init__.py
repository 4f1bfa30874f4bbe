"""The layouts that `seg dataset` reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segcli.datasets.layouts import (
    ade20k,
    camvid,
    cityscapes,
    coco_json,
    coco_stuff,
    cvat,
    darwin,
    folder,
    labelme,
    shapes,
    voc,
)
from segcli.datasets.layouts.base import Options, Source


@dataclass(frozen=True)
class Layout:
    """A layout.

    Attributes:
        name: as on the command line.
        find: finds the source at a folder.
        mark: paths below a folder of which one says that it is laid out so; empty where nothing does.
        open: whether classes and splits are left open, so that options say them.
        variants: what `--variant` may name; the first is the default.
        needs_folder: whether it lies in a folder at all.
    """

    name: str
    find: Callable[[Path, Options], Source]
    mark: Sequence[str] = ()
    open: bool = False
    variants: Sequence[str] = ()
    needs_folder: bool = True

    def fits(self, root: Path) -> bool:
        """Whether a folder looks like this layout."""
        return any(next(iter(root.glob(mark)), None) is not None for mark in self.mark)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("ade20k", lambda root, _: ade20k.find(root), ade20k.MARK),
        Layout("camvid", lambda root, _: camvid.find(root), camvid.MARK),
        Layout("cityscapes", cityscapes.find, cityscapes.MARK, variants=cityscapes.VARIANTS),
        Layout("coco_stuff", coco_stuff.find, coco_stuff.MARK, variants=coco_stuff.VARIANTS),
        Layout("voc", voc.find, voc.MARK, variants=voc.VARIANTS),
        Layout("coco", coco_json.find, coco_json.MARK, open=True, variants=coco_json.VARIANTS),
        Layout("cvat", cvat.find, cvat.MARK, open=True),
        Layout("darwin", darwin.find, open=True),
        Layout("labelme", labelme.find, open=True),
        Layout("shapes", lambda *_: shapes.source(), needs_folder=False),
        Layout("folder", folder.find, ("images", "train/images"), open=True),
    )
}
