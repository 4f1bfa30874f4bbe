"""Cityscapes: gtFine labelIds of 2048×1024 street scenes, reduced to the 19 classes that are evaluated."""

from pathlib import Path

from segcli.datasets.pairs import Pair
from segcli.datasets.prepared import Source
from segcli.errors import DataError
from segcli.io.images import find_images
from segcli.task import Task

# Label id, name and colour of the evaluated classes, in the order of their train ids.
# Source: the label table of the benchmark's scripts (helpers/labels.py).
LABELS = (
    (7, "road", (128, 64, 128)), (8, "sidewalk", (244, 35, 232)), (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)), (13, "fence", (190, 153, 153)), (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)), (20, "traffic sign", (220, 220, 0)), (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)), (23, "sky", (70, 130, 180)), (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)), (26, "car", (0, 0, 142)), (27, "truck", (0, 0, 70)), (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)), (32, "motorcycle", (0, 0, 230)), (33, "bicycle", (119, 11, 32)),
)  # fmt: skip
NUM_IDS = 34
_IMAGE, _MASK = "_leftImg8bit", "_gtFine_labelIds"


def find(root: Path) -> Source:
    """Finds train and val below a folder that holds `leftImg8bit` and `gtFine`.

    Raises:
        DataError: if the folder is not laid out so, or an image has no labels.
    """
    images, masks = root / "leftImg8bit", root / "gtFine"
    if not images.is_dir() or not masks.is_dir():
        raise DataError(
            f"{root} holds no leftImg8bit and gtFine; unpack both archives into it, and give it with --from"
        )
    task = Task.of([name for _, name, _ in LABELS], [colour for _, _, colour in LABELS])
    value_map = dict.fromkeys(range(NUM_IDS), task.ignore_index)
    value_map.update({label: index for index, (label, _, _) in enumerate(LABELS)})
    splits = {split: _pairs(images / split, masks / split) for split in ("train", "val")}
    return Source("cityscapes", task, value_map, splits, str(root))


def _pairs(images: Path, masks: Path) -> list[Pair]:
    pairs = []
    for image in find_images(images):
        name = image.relative_to(images).with_suffix("").as_posix().removesuffix(_IMAGE)
        mask = masks / f"{name}{_MASK}.png"
        if not mask.is_file():
            raise DataError(f"{mask}: no such file, but {image} is there")
        pairs.append(Pair(name, image, mask))
    return pairs
