"""PASCAL VOC 2012: palette masks of 21 classes, splits named by ImageSets/Segmentation."""

from pathlib import Path

from segcli.datasets.pairs import Pair
from segcli.datasets.prepared import Source
from segcli.errors import DataError
from segcli.task import Task

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def find(root: Path) -> Source:
    """Finds VOC2012 at or below a folder (as `VOC2012`, or `VOCdevkit/VOC2012`).

    Raises:
        DataError: if the folder is not laid out so, or a listed file is missing.
    """
    for home in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        lists = home / "ImageSets" / "Segmentation"
        if lists.is_dir():
            splits = {split: _listed(home, lists / f"{split}.txt") for split in ("train", "val")}
            return Source("voc", Task.of(CLASSES), {}, splits, str(root))
    raise DataError(f"{root} holds no VOCdevkit/VOC2012/ImageSets/Segmentation; give VOC's folder with --from")


def _listed(home: Path, names: Path) -> list[Pair]:
    if not names.is_file():
        raise DataError(f"{names}: no such file")
    pairs = []
    for name in names.read_text(encoding="utf-8").split():
        pair = Pair(name, home / "JPEGImages" / f"{name}.jpg", home / "SegmentationClass" / f"{name}.png")
        for file in (pair.image, pair.mask):
            if file is not None and not file.is_file():
                raise DataError(f"{file}: no such file, but {names} lists {name}")
        pairs.append(pair)
    return pairs
