"""Cityscapes: fine or coarse labelIds of 2048×1024 street scenes, reduced to the 19 classes that are evaluated."""

from pathlib import Path

from segcli.datasets.layouts.base import Options, Source
from segcli.datasets.layouts.pairing import Folders, list_images, match_splits, with_objects
from segcli.errors import DataError
from segcli.task import Task

MARK = ("leftImg8bit/train", "leftImg8bit/val")
VARIANTS = ("fine", "coarse")

# Label id, name, category and colour of the evaluated classes, in the order of their train ids.
# Source: the label table of the benchmark's scripts (helpers/labels.py).
LABELS = (
    (7, "road", "flat", (128, 64, 128)), (8, "sidewalk", "flat", (244, 35, 232)),
    (11, "building", "construction", (70, 70, 70)), (12, "wall", "construction", (102, 102, 156)),
    (13, "fence", "construction", (190, 153, 153)), (17, "pole", "object", (153, 153, 153)),
    (19, "traffic light", "object", (250, 170, 30)), (20, "traffic sign", "object", (220, 220, 0)),
    (21, "vegetation", "nature", (107, 142, 35)), (22, "terrain", "nature", (152, 251, 152)),
    (23, "sky", "sky", (70, 130, 180)), (24, "person", "human", (220, 20, 60)), (25, "rider", "human", (255, 0, 0)),
    (26, "car", "vehicle", (0, 0, 142)), (27, "truck", "vehicle", (0, 0, 70)), (28, "bus", "vehicle", (0, 60, 100)),
    (31, "train", "vehicle", (0, 80, 100)), (32, "motorcycle", "vehicle", (0, 0, 230)),
    (33, "bicycle", "vehicle", (119, 11, 32)),
)  # fmt: skip
NUM_IDS = 34
LICENCE_PLATE = 255
"""How an 8-bit labelIds mask holds the label id -1."""
_IMAGE = "{name}_leftImg8bit"
_OBJECTS = (1000, 65534)
"""Values of instanceIds that are single objects: label id times 1000, plus a number; below stand whole labels."""


def find(root: Path, options: Options) -> Source:
    """Finds the splits below a folder that holds `leftImg8bit` and `gtFine` (or `gtCoarse`).

    The coarse variant trains on the coarse masks of train and, where its images are there, train_extra; it is
    measured on the fine masks of val, where they are there. The masks of test are secret: its images stand alone.

    Raises:
        DataError: if the folder is not laid out so.
    """
    home = next((path for path in (root, root / "cityscapes") if (path / "leftImg8bit").is_dir()), root)
    coarse = options.variant == "coarse"
    needed = "gtCoarse" if coarse else "gtFine"
    if not (home / "leftImg8bit").is_dir() or not (home / needed).is_dir():
        raise DataError(
            f"{root} holds no leftImg8bit and {needed}; unpack both archives into it, and give it with --from"
        )
    task = Task.of([name for _, name, _, _ in LABELS], [colour for _, _, _, colour in LABELS])
    value_map = dict.fromkeys([*range(NUM_IDS), LICENCE_PLATE], task.ignore_index)
    value_map.update({label: index for index, (label, *_) in enumerate(LABELS)})
    images, of_val = home / "leftImg8bit", "gtFine" if (home / "gtFine" / "val").is_dir() else needed
    kinds = {"train": needed, "val": of_val, **({"train_extra": needed} if coarse else {})}
    places = {
        split: Folders(images / split, home / kind / split, _IMAGE, f"{{name}}_{kind}_labelIds")
        for split, kind in kinds.items()
    }
    folders = {"train": [place for split, place in places.items() if split != "val"], "val": [places["val"]]}
    splits, findings = match_splits(root, folders, f"leftImg8bit/ and {needed}/ have a folder for each")
    splits = {split: with_objects(pairs, _objects_of, _OBJECTS) for split, pairs in splits.items()}
    if (images / "test").is_dir():
        splits["test"], _ = list_images(images / "test", _IMAGE)
    categories = {category: [name for _, name, own, _ in LABELS if own == category] for _, _, category, _ in LABELS}
    name = "cityscapes_coarse" if coarse else "cityscapes"
    return Source(name, str(root), splits, task, value_map, findings=findings, categories=categories)


def _objects_of(name: str, mask: Path) -> Path:
    return mask.with_name(mask.name.replace("labelIds", "instanceIds"))
