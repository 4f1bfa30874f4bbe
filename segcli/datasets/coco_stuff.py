"""COCO-Stuff: the stuffthing masks of COCO 2017, 80 things and 91 stuffs; 255 is void."""

from pathlib import Path

from segcli.datasets.pairs import Pair
from segcli.datasets.prepared import Source
from segcli.errors import DataError
from segcli.io.images import find_images
from segcli.task import Task

# COCO's category names in the order of their ids 1…182; a mask holds id - 1. The empty ones were never annotated.
# Source: labels.txt of the COCO-Stuff dataset.
CATEGORIES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep",
    "cow", "elephant", "bear", "zebra", "giraffe", "", "backpack", "umbrella", "", "",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat",
    "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "", "wine glass", "cup", "fork", "knife",
    "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut",
    "cake", "chair", "couch", "potted plant", "bed", "", "dining table", "", "", "toilet",
    "", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster",
    "sink", "refrigerator", "", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
    "", "banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard",
    "carpet", "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard", "curtain",
    "desk-stuff", "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone", "floor-tile",
    "floor-wood", "flower", "fog", "food-other", "fruit", "furniture-other", "grass", "gravel", "ground-other",
    "hill", "house", "leaves", "light", "mat", "metal", "mirror-stuff", "moss", "mountain", "mud", "napkin", "net",
    "paper", "pavement", "pillow", "plant-other", "plastic", "platform", "playingfield", "railing", "railroad",
    "river", "road", "rock", "roof", "rug", "salad", "sand", "sea", "shelf", "sky-other", "skyscraper", "snow",
    "solid-other", "stairs", "stone", "straw", "structural-other", "table", "tent", "textile-other", "towel", "tree",
    "vegetable", "wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood",
    "water-other", "waterdrops", "window-blind", "window-other", "wood",
)  # fmt: skip
CLASSES = tuple(name for name in CATEGORIES if name)


def find(root: Path) -> Source:
    """Finds train2017 and val2017 below a folder that holds `stuffthingmaps_trainval2017` beside them.

    Raises:
        DataError: if the folder is not laid out so, or a mask has no image.
    """
    maps = root / "stuffthingmaps_trainval2017"
    if not maps.is_dir():
        raise DataError(f"{root} holds no stuffthingmaps_trainval2017; give COCO-Stuff's folder with --from")
    task = Task.of(CLASSES)
    value_map = dict.fromkeys(range(len(CATEGORIES)), task.ignore_index)
    value_map.update({CATEGORIES.index(name): index for index, name in enumerate(CLASSES)})
    splits = {split: _pairs(root / f"{split}2017", maps / f"{split}2017") for split in ("train", "val")}
    return Source("coco_stuff", task, value_map, splits, str(root))


def _pairs(images: Path, masks: Path) -> list[Pair]:
    pairs = []
    for mask in find_images(masks):
        image = images / f"{mask.stem}.jpg"
        if not image.is_file():
            raise DataError(f"{image}: no such file, but {mask} is there")
        pairs.append(Pair(mask.stem, image, mask))
    return pairs
