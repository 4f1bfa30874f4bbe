"""COCO-Stuff: the stuffthing masks of COCO 2017, 80 things and 91 stuffs; 255 is void."""

from pathlib import Path

from segcli.datasets.layouts.base import Options, Source
from segcli.datasets.layouts.pairing import Folders, list_images, match_splits
from segcli.errors import DataError
from segcli.task import Task

MARK = ("stuffthingmaps_trainval2017",)
VARIANTS = ("classes", "supercategories")

# COCO's category ids (a mask holds id - 1) by name, in the 12 groups of things and 15 of stuff; ids without a name were
# never annotated. Source: labels.txt and the hierarchy of the COCO-Stuff dataset.
GROUPS = {
    "person": {"person": 1},
    "vehicle": {"bicycle": 2, "car": 3, "motorcycle": 4, "airplane": 5, "bus": 6, "train": 7, "truck": 8, "boat": 9},
    "outdoor": {"traffic light": 10, "fire hydrant": 11, "stop sign": 13, "parking meter": 14, "bench": 15},
    "animal": {
        "bird": 16, "cat": 17, "dog": 18, "horse": 19, "sheep": 20, "cow": 21, "elephant": 22, "bear": 23,
        "zebra": 24, "giraffe": 25,
    },
    "accessory": {"backpack": 27, "umbrella": 28, "handbag": 31, "tie": 32, "suitcase": 33},
    "sports": {
        "frisbee": 34, "skis": 35, "snowboard": 36, "sports ball": 37, "kite": 38, "baseball bat": 39,
        "baseball glove": 40, "skateboard": 41, "surfboard": 42, "tennis racket": 43,
    },
    "kitchen": {"bottle": 44, "wine glass": 46, "cup": 47, "fork": 48, "knife": 49, "spoon": 50, "bowl": 51},
    "food": {
        "banana": 52, "apple": 53, "sandwich": 54, "orange": 55, "broccoli": 56, "carrot": 57, "hot dog": 58,
        "pizza": 59, "donut": 60, "cake": 61,
    },
    "furniture": {"chair": 62, "couch": 63, "potted plant": 64, "bed": 65, "dining table": 67, "toilet": 70},
    "electronic": {"tv": 72, "laptop": 73, "mouse": 74, "remote": 75, "keyboard": 76, "cell phone": 77},
    "appliance": {"microwave": 78, "oven": 79, "toaster": 80, "sink": 81, "refrigerator": 82},
    "indoor": {
        "book": 84, "clock": 85, "vase": 86, "scissors": 87, "teddy bear": 88, "hair drier": 89,
        "toothbrush": 90,
    },
    "water": {"fog": 120, "river": 148, "sea": 155, "water-other": 178, "waterdrops": 179},
    "ground": {
        "dirt": 111, "gravel": 125, "ground-other": 126, "mud": 136, "pavement": 140, "platform": 144,
        "playingfield": 145, "railroad": 147, "road": 149, "sand": 154, "snow": 159,
    },
    "solid": {"hill": 127, "mountain": 135, "rock": 150, "solid-other": 160, "stone": 162, "wood": 182},
    "sky": {"clouds": 106, "sky-other": 157},
    "plant": {
        "branch": 94, "bush": 97, "flower": 119, "grass": 124, "leaves": 129, "moss": 134, "plant-other": 142,
        "straw": 163, "tree": 169,
    },
    "structural": {"cage": 99, "fence": 113, "net": 138, "railing": 146, "structural-other": 164},
    "building": {"bridge": 95, "building-other": 96, "house": 128, "roof": 151, "skyscraper": 158, "tent": 166},
    "food-stuff": {"food-other": 121, "fruit": 122, "salad": 153, "vegetable": 170},
    "textile": {
        "banner": 92, "blanket": 93, "cloth": 104, "clothes": 105, "curtain": 109, "mat": 131, "napkin": 137,
        "pillow": 141, "rug": 152, "textile-other": 167, "towel": 168,
    },
    "furniture-stuff": {
        "cabinet": 98, "counter": 107, "cupboard": 108, "desk-stuff": 110, "door-stuff": 112,
        "furniture-other": 123, "light": 130, "mirror-stuff": 133, "shelf": 156, "stairs": 161, "table": 165,
    },
    "window": {"window-blind": 180, "window-other": 181},
    "floor": {
        "carpet": 101, "floor-marble": 114, "floor-other": 115, "floor-stone": 116, "floor-tile": 117,
        "floor-wood": 118,
    },
    "ceiling": {"ceiling-other": 102, "ceiling-tile": 103},
    "wall": {
        "wall-brick": 171, "wall-concrete": 172, "wall-other": 173, "wall-panel": 174, "wall-stone": 175,
        "wall-tile": 176, "wall-wood": 177,
    },
    "raw-material": {"cardboard": 100, "metal": 132, "paper": 139, "plastic": 143},
}  # fmt: skip
SUPERCATEGORIES = {group: tuple(names) for group, names in GROUPS.items()}
_IDS = {name: number for names in GROUPS.values() for name, number in names.items()}
CLASSES = tuple(sorted(_IDS, key=_IDS.__getitem__))


def find(root: Path, options: Options) -> Source:
    """Finds train2017 and val2017 below a folder that holds `stuffthingmaps_trainval2017` beside them.

    The images may also lie in `images/`. The variant `supercategories` has the 27 groups as its classes.

    Raises:
        DataError: if the folder is not laid out so.
    """
    maps = root / "stuffthingmaps_trainval2017"
    if not maps.is_dir():
        raise DataError(f"{root} holds no stuffthingmaps_trainval2017; give COCO-Stuff's folder with --from")
    grouped = options.variant == "supercategories"
    group = {name: index for index, names in enumerate(SUPERCATEGORIES.values()) for name in names}
    task = Task.of([*SUPERCATEGORIES]) if grouped else Task.of(CLASSES)
    value_map = dict.fromkeys(range(max(_IDS.values())), task.ignore_index)
    value_map.update({_IDS[name] - 1: group[name] if grouped else index for index, name in enumerate(CLASSES)})
    images = root / "images" if (root / "images").is_dir() else root
    folders = {split: [Folders(images / f"{split}2017", maps / f"{split}2017")] for split in ("train", "val")}
    splits, findings = match_splits(root, folders, "train2017 and val2017, here and in stuffthingmaps_trainval2017")
    if (images / "test2017").is_dir():
        splits["test"], _ = list_images(images / "test2017")
    name = "coco_stuff27" if grouped else "coco_stuff"
    categories = {} if grouped else SUPERCATEGORIES
    return Source(name, str(root), splits, task, value_map, findings=findings, categories=categories)
