"""All layouts that `seg dataset` reads."""

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
from segcli.datasets.layouts.base import Layout

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
