"""PASCAL VOC 2012: palette masks of 21 classes, splits named by ImageSets/Segmentation; SBD's masks where they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcli.datasets.dataset import SPLITS
from segcli.datasets.layouts.base import Finding, Options, Pair, Source, those_there
from segcli.datasets.layouts.splits import read_lines
from segcli.datasets.masks import MaskFile, MaskSource, number_objects
from segcli.errors import DataError, FileProblem
from segcli.io.images import Mask
from segcli.task import Task, voc_palette

MARK = (
    "ImageSets/Segmentation", "VOC2012/ImageSets/Segmentation", "VOCdevkit/VOC2012/ImageSets/Segmentation",
)  # fmt: skip
VARIANTS = ("auto", "standard", "augmented")
CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_OBJECTS = (1, 254)
"""Values of SegmentationObject that are single objects; 255 is the contour between them."""


def find(root: Path, options: Options) -> Source:
    """Finds VOC2012 at or below a folder (as `VOC2012`, or `VOCdevkit/VOC2012`).

    The training list grows to the augmented one where its masks are, unless the variant is `standard`: as
    `SegmentationClassAug` with `ImageSets/Segmentation/trainaug.txt`, or as SBD's own `benchmark_RELEASE/dataset`
    beside VOC: all of SBD that is not in VOC's val, with VOC's own masks where there are both (10,582 images with the
    whole of VOC and SBD).

    Raises:
        DataError: if the folder is not laid out so, or holds no augmented masks though the variant is `augmented`.
    """
    for home in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        lists = home / "ImageSets" / "Segmentation"
        if lists.is_dir():
            break
    else:
        raise DataError(f"{root} holds no VOCdevkit/VOC2012/ImageSets/Segmentation; give VOC's folder with --from")
    names = {split: _names(lists / f"{split}.txt") for split in SPLITS}
    masks: dict[str, dict[str, MaskSource]] = {
        split: {name: _own_mask(home, name) for name in names[split]} for split in ("train", "val")
    }
    if options.variant != "standard":
        masks["train"] = _augmented(root, home, names["val"], options.variant == "augmented") | masks["train"]
    parts = {split: _paired(root, home, of_split) for split, of_split in masks.items()}
    images = [(name, home / "JPEGImages" / f"{name}.jpg") for name in names["test"]]  # the masks of test are secret
    parts["test"] = [Pair(name, image, None) for name, image in images if image.is_file()], []
    splits, findings = those_there(root, parts, "ImageSets/Segmentation lists the images of each")
    return Source("voc", str(root), splits, Task.of(CLASSES, voc_palette(len(CLASSES))), findings=findings)


def _own_mask(home: Path, name: str) -> MaskFile:
    objects = home / "SegmentationObject" / f"{name}.png"
    path = home / "SegmentationClass" / f"{name}.png"
    return MaskFile(path, instance_path=objects if objects.is_file() else None, instance_values=_OBJECTS)


def _augmented(root: Path, home: Path, val: Sequence[str], needed: bool) -> dict[str, MaskSource]:
    """By name of a further image to train on, its mask."""
    masks, names = home / "SegmentationClassAug", home / "ImageSets" / "Segmentation" / "trainaug.txt"
    if masks.is_dir() and names.is_file():
        return {name: MaskFile(masks / f"{name}.png") for name in _names(names)}
    sbd = next((path for path in _sbd_homes(root, home) if (path / "cls").is_dir()), None)
    if sbd is not None:
        known = {name for part in ("train", "val") for name in _names(sbd / f"{part}.txt")}
        return {name: SbdMask(sbd / "cls" / f"{name}.mat") for name in known.difference(val)}
    if needed:
        raise DataError(
            f"{root} holds neither SegmentationClassAug with its trainaug.txt nor benchmark_RELEASE/dataset; add one "
            f"of them, or leave out --variant augmented"
        )
    return {}


def _sbd_homes(root: Path, home: Path) -> list[Path]:
    return [path / "benchmark_RELEASE" / "dataset" for path in (root, home, home.parent, home.parent.parent)]


def _names(path: Path) -> list[str]:
    """The names of a list, where it is there; the lists of SegmentationClassAug hold paths."""
    return [Path(line.split()[0]).stem for line in read_lines(path)] if path.is_file() else []


def _paired(root: Path, home: Path, masks: Mapping[str, MaskSource]) -> tuple[list[Pair], list[Finding]]:
    """The pairs of which both files are there; what is missing of others is found."""
    folders = [home / "JPEGImages", *(path / "img" for path in _sbd_homes(root, home))]
    pairs, findings = [], []
    for name in sorted(masks):
        mask, images = masks[name], [folder / f"{name}.jpg" for folder in folders]
        image = next((path for path in images if path.is_file()), images[0])
        missing = [file for file in (image, mask.path) if not file.is_file()]
        if missing:
            findings.append(Finding("missing", missing[0], f"{missing[0]}: no such file, but a list names {name}"))
        else:
            pairs.append(Pair(name, image, mask))
    return pairs, findings


@dataclass(frozen=True)
class SbdMask:
    """A mask of the Semantic Boundaries Dataset: a MATLAB file with `GTcls.Segmentation`, objects in `inst/`."""

    path: Path

    @property
    def instance_path(self) -> Path | None:
        """The file that tells objects apart, where it is there."""
        path = self.path.parents[1] / "inst" / self.path.name
        return path if path.is_file() else None

    def values(self, height: int, width: int) -> Mask:
        """The class indices, H×W uint8, whatever the image's size."""
        return _read_mat(self.path, "GTcls")

    def instances(self, height: int, width: int) -> Mask | None:
        """The objects, numbered from 1."""
        path = self.instance_path
        return number_objects(_read_mat(path, "GTinst"), *_OBJECTS) if path else None


def _read_mat(path: Path, key: str) -> Mask:
    from scipy.io import loadmat

    try:
        return np.ascontiguousarray(loadmat(path)[key]["Segmentation"][0, 0], np.uint8)
    except Exception as error:  # scipy answers files that are none of MATLAB's with errors of many kinds
        raise FileProblem(f"{path} is damaged: {error}; replace or remove it", "damaged") from None
