"""The native layouts that `seg dataset prepare` reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segcli.datasets import ade20k, camvid, cityscapes, coco_stuff, folder, shapes, voc
from segcli.datasets.folder import FolderOptions
from segcli.datasets.pairs import Progress
from segcli.datasets.prepared import Source


@dataclass(frozen=True)
class Layout:
    """A native layout.

    Attributes:
        name: as on the command line.
        find: finds the source at a folder; None where none is needed.
        needs_folder: whether `--from` must name a folder.
    """

    name: str
    find: Callable[[Path, FolderOptions, Progress], Source]
    needs_folder: bool = True


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("ade20k", lambda root, *_: ade20k.find(root)),
        Layout("camvid", lambda root, *_: camvid.find(root)),
        Layout("cityscapes", lambda root, *_: cityscapes.find(root)),
        Layout("coco_stuff", lambda root, *_: coco_stuff.find(root)),
        Layout("folder", folder.find),
        Layout("shapes", lambda *_: shapes.source(), needs_folder=False),
        Layout("voc", lambda root, *_: voc.find(root)),
    )
}
