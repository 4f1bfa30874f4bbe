"""PASCAL VOC 2012: palette masks of 21 classes, splits named by ImageSets/Segmentation; SBD's masks where they are."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcli.datasets.layouts.base import Finding, Options, Pair, Source, those_there
from segcli.datasets.layouts.splits import read_names
from segcli.datasets.masks import MaskFile, MaskLook, MaskSource, look_at_values, number_objects, objects_problem
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
    of_train: list[Finding] = []
    of_val: list[Finding] = []
    train = _train(root, home, options.variant or VARIANTS[0], of_train)
    val = _listed(home, lists / "val.txt", of_val)
    parts = {"train": (train, of_train), "val": (val, of_val), "test": (_test(home, lists / "test.txt"), ())}
    splits, findings = those_there(root, parts, "ImageSets/Segmentation lists the images of each")
    return Source("voc", str(root), splits, Task.of(CLASSES, voc_palette(len(CLASSES))), findings=findings)


def _train(root: Path, home: Path, variant: str, findings: list[Finding]) -> list[Pair]:
    lists = home / "ImageSets" / "Segmentation"
    own = _listed(home, lists / "train.txt", findings)
    if variant == "standard":
        return own
    augmented = home / "SegmentationClassAug"
    if augmented.is_dir() and (lists / "trainaug.txt").is_file():
        names = {pair.name for pair in own}
        extra = [name for name in _names(lists / "trainaug.txt") if name not in names]
        return sorted(
            [*own, *_paired(home, extra, lambda name: MaskFile(augmented / f"{name}.png"), findings)], key=_name
        )
    homes = [path / "benchmark_RELEASE" / "dataset" for path in (root, home, home.parent, home.parent.parent)]
    sbd = next((path for path in homes if (path / "cls").is_dir()), None)
    if sbd is None:
        if variant == "augmented":
            raise DataError(
                f"{root} holds neither SegmentationClassAug with its trainaug.txt nor benchmark_RELEASE/dataset; add "
                f"one of them, or leave out --variant augmented"
            )
        return own
    taken = {pair.name for pair in own} | set(_names(lists / "val.txt"))
    known = {name for part in ("train", "val") for name in _names(sbd / f"{part}.txt")}
    more = _paired(
        home, sorted(known - taken), lambda name: SbdMask(sbd / "cls" / f"{name}.mat"), findings, sbd / "img"
    )
    return sorted([*own, *more], key=_name)


def _name(pair: Pair) -> str:
    return pair.name


def _names(path: Path) -> list[str]:
    """The names of a list; the lists of SegmentationClassAug hold paths."""
    return [Path(name).stem for name in read_names(path)]


def _listed(home: Path, names: Path, findings: list[Finding]) -> list[Pair]:
    def mask(name: str) -> MaskFile:
        objects = home / "SegmentationObject" / f"{name}.png"
        path = home / "SegmentationClass" / f"{name}.png"
        return MaskFile(path, instance_path=objects if objects.is_file() else None, instance_values=_OBJECTS)

    return _paired(home, _names(names) if names.is_file() else [], mask, findings)


def _test(home: Path, names: Path) -> list[Pair]:
    """The images of test that are there; their masks are secret."""
    if not names.is_file():
        return []
    images = [(name, home / "JPEGImages" / f"{name}.jpg") for name in _names(names)]
    return [Pair(name, image, None) for name, image in images if image.is_file()]


def _paired(
    home: Path,
    names: list[str],
    mask: Callable[[str], MaskSource],
    findings: list[Finding],
    other_images: Path | None = None,
) -> list[Pair]:
    pairs = []
    for name in dict.fromkeys(names):
        image = home / "JPEGImages" / f"{name}.jpg"
        if not image.is_file() and other_images is not None:
            image = other_images / f"{name}.jpg"
        source = mask(name)
        missing = [file for file in (image, source.path) if not file.is_file()]
        if missing:
            findings.append(Finding("missing", missing[0], f"{missing[0]}: no such file, but a list names {name}"))
        else:
            pairs.append(Pair(name, image, source))
    return pairs


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

    def look(self, height: int, width: int) -> MaskLook:
        """Reads it in full and says what it holds."""
        values = self.values(height, width)
        return look_at_values(values, objects_problem(self, values.shape[0], values.shape[1]))


def _read_mat(path: Path, key: str) -> Mask:
    from scipy.io import loadmat

    try:
        return np.ascontiguousarray(loadmat(path)[key]["Segmentation"][0, 0], np.uint8)
    except Exception as error:  # scipy answers files that are none of MATLAB's with errors of many kinds
        raise FileProblem(f"{path} is damaged: {error}; replace or remove it", "damaged") from None
