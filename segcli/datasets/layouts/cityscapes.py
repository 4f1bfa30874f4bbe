"""Cityscapes: fine or coarse labelIds of 2048×1024 street scenes, reduced to the 19 classes that are evaluated."""

from pathlib import Path

from segcli.datasets.layouts.base import Finding, Options, Pair, Source, those_there
from segcli.datasets.masks import MaskFile
from segcli.errors import DataError
from segcli.io.images import find_images
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
_IMAGE = "_leftImg8bit"
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
    of_train: list[Finding] = []
    of_val: list[Finding] = []
    fine_val = (home / "gtFine" / "val").is_dir()
    folders = ("train", "train_extra") if coarse else ("train",)
    train = [pair for split in folders for pair in _pairs(home, split, needed, of_train)]
    val = _pairs(home, "val", "gtFine" if fine_val else needed, of_val)
    test = [Pair(_name(path, home, "test"), path, None) for path in _images(home, "test")]
    parts = {"train": (train, of_train), "val": (val, of_val), "test": (test, ())}
    splits, findings = those_there(root, parts, f"leftImg8bit/ and {needed}/ have a folder for each")
    categories = {category: [name for _, name, own, _ in LABELS if own == category] for _, _, category, _ in LABELS}
    name = "cityscapes_coarse" if coarse else "cityscapes"
    return Source(name, str(root), splits, task, value_map, findings=findings, categories=categories)


def _images(home: Path, split: str) -> list[Path]:
    folder = home / "leftImg8bit" / split
    return find_images(folder) if folder.is_dir() else []


def _name(image: Path, home: Path, split: str) -> str:
    return image.relative_to(home / "leftImg8bit" / split).with_suffix("").as_posix().removesuffix(_IMAGE)


def _pairs(home: Path, split: str, kind: str, findings: list[Finding]) -> list[Pair]:
    pairs = []
    for image in _images(home, split):
        name = _name(image, home, split)
        mask = home / kind / split / f"{name}_{kind}_labelIds.png"
        objects = mask.with_name(mask.name.replace("labelIds", "instanceIds"))
        if mask.is_file():
            source = MaskFile(mask, instance_path=objects if objects.is_file() else None, instance_values=_OBJECTS)
            pairs.append(Pair(name, image, source))
        else:
            findings.append(Finding("no-mask", image, f"{mask}: no such file, but {image} is there"))
    used = {pair.mask.path for pair in pairs if pair.mask}
    for mask in sorted((home / kind / split).glob(f"*/*_{kind}_labelIds.png")):
        if mask not in used:
            findings.append(Finding("no-image", mask, f"{mask} is there, but not its image in leftImg8bit/{split}"))
    return pairs
