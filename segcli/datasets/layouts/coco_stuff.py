"""COCO-Stuff: the stuffthing masks of COCO 2017, 80 things and 91 stuffs; 255 is void."""

from pathlib import Path

from segcli.datasets.layouts.base import Finding, Options, Pair, Source, those_there
from segcli.datasets.layouts.pairing import list_images
from segcli.datasets.masks import MaskFile
from segcli.errors import DataError
from segcli.io.images import find_images
from segcli.task import Task

MARK = ("stuffthingmaps_trainval2017",)
VARIANTS = ("classes", "supercategories")

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

# The 12 groups of things and 15 of stuff. Source: the hierarchy of the COCO-Stuff dataset.
SUPERCATEGORIES = {
    "person": ("person",),
    "vehicle": ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    "outdoor": ("traffic light", "fire hydrant", "stop sign", "parking meter", "bench"),
    "animal": ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe"),
    "accessory": ("backpack", "umbrella", "handbag", "tie", "suitcase"),
    "sports": ("frisbee", "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard",
               "surfboard", "tennis racket"),
    "kitchen": ("bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl"),
    "food": ("banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake"),
    "furniture": ("chair", "couch", "potted plant", "bed", "dining table", "toilet"),
    "electronic": ("tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    "appliance": ("microwave", "oven", "toaster", "sink", "refrigerator"),
    "indoor": ("book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush"),
    "water": ("fog", "river", "sea", "water-other", "waterdrops"),
    "ground": ("dirt", "gravel", "ground-other", "mud", "pavement", "platform", "playingfield", "railroad", "road",
               "sand", "snow"),
    "solid": ("hill", "mountain", "rock", "solid-other", "stone", "wood"),
    "sky": ("clouds", "sky-other"),
    "plant": ("branch", "bush", "flower", "grass", "leaves", "moss", "plant-other", "straw", "tree"),
    "structural": ("cage", "fence", "net", "railing", "structural-other"),
    "building": ("bridge", "building-other", "house", "roof", "skyscraper", "tent"),
    "food-stuff": ("food-other", "fruit", "salad", "vegetable"),
    "textile": ("banner", "blanket", "cloth", "clothes", "curtain", "mat", "napkin", "pillow", "rug", "textile-other",
                "towel"),
    "furniture-stuff": ("cabinet", "counter", "cupboard", "desk-stuff", "door-stuff", "furniture-other", "light",
                        "mirror-stuff", "shelf", "stairs", "table"),
    "window": ("window-blind", "window-other"),
    "floor": ("carpet", "floor-marble", "floor-other", "floor-stone", "floor-tile", "floor-wood"),
    "ceiling": ("ceiling-other", "ceiling-tile"),
    "wall": ("wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood"),
    "raw-material": ("cardboard", "metal", "paper", "plastic"),
}  # fmt: skip


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
    value_map = dict.fromkeys(range(len(CATEGORIES)), task.ignore_index)
    value_map.update({CATEGORIES.index(name): group[name] if grouped else index for index, name in enumerate(CLASSES)})
    images = root / "images" if (root / "images").is_dir() else root
    parts = {split: _pairs(images / f"{split}2017", maps / f"{split}2017") for split in ("train", "val")}
    splits, findings = those_there(root, parts, "train2017 and val2017, here and in stuffthingmaps_trainval2017")
    if (images / "test2017").is_dir():
        splits["test"], _ = list_images(images / "test2017")
    name = "coco_stuff27" if grouped else "coco_stuff"
    categories = {} if grouped else SUPERCATEGORIES
    return Source(name, str(root), splits, task, value_map, findings=findings, categories=categories)


def _pairs(images: Path, masks: Path) -> tuple[list[Pair], list[Finding]]:
    pairs, findings = [], []
    for mask in find_images(masks) if masks.is_dir() else []:
        image = images / f"{mask.stem}.jpg"
        if image.is_file():
            pairs.append(Pair(mask.stem, image, MaskFile(mask)))
        else:
            findings.append(Finding("no-image", mask, f"{image}: no such file, but {mask} is there"))
    named = {pair.name for pair in pairs}
    for image in find_images(images) if images.is_dir() else []:
        if image.stem not in named:
            mask = masks / f"{image.stem}.png"
            findings.append(Finding("no-mask", image, f"{mask}: no such file, but {image} is there"))
    return pairs, findings
