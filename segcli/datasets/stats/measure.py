"""Figures of a dataset: pixels, images and objects of each class, sizes, brightness, and the weights that follow."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segcli.components.class_weights import ClassFigures, class_weights
from segcli.datasets.check.judge import Survey
from segcli.datasets.check.kinds import refuse_errors
from segcli.datasets.dataset import Sample
from segcli.datasets.encoding import MaskEncoding
from segcli.errors import DataError
from segcli.io.images import Mask
from segcli.parallel import Progress, each, silent
from segcli.task import Task

OBJECT_SIDES = (8, 16, 32, 64, 128, 256)
"""Limits between the bins of the object histogram: side of the square of an object's area, in pixels."""

NUM_EXAMPLES = 4

Box = tuple[int, int, int, int]
"""Left, top, width and height."""


@dataclass(frozen=True)
class Example:
    """A sample in which a class shows well, and the largest object of it there."""

    split: str
    place: int  # index of the sample in its split
    name: str
    box: Box  # of the object
    area: int  # its pixels


@dataclass(frozen=True)
class SplitFigures:
    """Figures of a split."""

    sizes: Mapping[tuple[int, int], int]  # images by (height, width)
    mean: tuple[float, ...]  # of red, green and blue over all pixels, 0…1
    std: tuple[float, ...]
    classes: ClassFigures | None  # None where the split has no masks
    objects: Sequence[Sequence[int]]  # by class, connected regions (8 neighbours) in each bin between OBJECT_SIDES
    ignored: int  # pixels

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.sizes.values())

    @property
    def pixels(self) -> Sequence[int] | None:
        """By class; None where the split has no masks."""
        return self.classes.pixels if self.classes else None

    @property
    def images_with(self) -> Sequence[int]:
        """By class, the images that hold it."""
        return (self.classes and self.classes.images_with) or [0] * len(self.objects)

    def shares(self) -> list[float]:
        """Each class's share (0…1) of the pixels that are not ignored."""
        pixels = self.pixels or ()
        return [count / max(sum(pixels), 1) for count in pixels]

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return {
            "images": self.images,
            "sizes": [{"height": h, "width": w, "images": count} for (h, w), count in self.sizes.items()],
            "mean": self.mean,
            "std": self.std,
            "pixels": self.pixels,
            "pixel_share": self.shares(),
            "images_with": self.images_with,
            "objects": self.objects,
            "ignored": self.ignored,
        }


@dataclass(frozen=True)
class Statistics:
    """Figures of a dataset."""

    name: str
    task: Task
    splits: Mapping[str, SplitFigures]
    examples: Sequence[Sequence[Example]]  # by class
    samples: Mapping[str, Sequence[Sample]]  # by split, to draw the examples from

    def class_weights(self) -> dict[str, list[float]]:
        """The weights of the classes by two rules of the losses, from the training images."""
        figures = self.splits["train"].classes or ClassFigures.of([[0] * self.task.num_classes])
        return {rule: class_weights(rule, figures) or [] for rule in ("median_frequency", "effective_number")}

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return {
            "name": self.name,
            **self.task.to_json(),
            "object_sides": list(OBJECT_SIDES),
            "splits": {split: figures.to_json() for split, figures in self.splits.items()},
            "class_weights": self.class_weights(),
        }


def measure(found: Survey, progress: Progress = silent, where_to_look: str = "seg dataset check") -> Statistics:
    """Measures a dataset that has been looked at; every file is read once more.

    Raises:
        DataError: if something is wrong with it, with the command that lists it all.
    """
    refuse_errors((finding for finding in found.findings if finding.kind != "duplicate"), where_to_look)
    encoding, samples, figures = found.settled(), found.samples(), found.class_figures()
    if not samples.get("train"):
        raise DataError(f"{found.source.origin} has no train split to measure")
    splits: dict[str, SplitFigures] = {}
    examples: list[list[Example]] = [[] for _ in encoding.task.classes]
    for split, items in samples.items():
        channels, objects = np.zeros((2, 3)), np.zeros((encoding.task.num_classes, len(OBJECT_SIDES) + 1), np.int64)
        work = each(partial(_measure, encoding=encoding), items, f"measuring {split}", progress)
        for place, (sums, regions) in enumerate(work):
            channels += sums
            for index, (bins, box, area) in regions.items():
                objects[index] += bins
                shown = [*examples[index], Example(split, place, items[place].name, box, area)]
                examples[index] = sorted(shown, key=lambda example: -example.area)[:NUM_EXAMPLES]
        looks = found.looks[split]
        sizes = Counter(look.size for look in looks if look.size)
        ignored = sum(encoding.count_ignored(look.values or {}) for look in looks)
        mean, std = _moments(channels, sum(height * width * number for (height, width), number in sizes.items()))
        in_order = dict(sizes.most_common())
        splits[split] = SplitFigures(in_order, mean, std, figures.get(split), objects.tolist(), ignored)
    return Statistics(found.source.name, encoding.task, splits, examples, samples)


def _moments(sums: NDArray[np.float64], pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the channels, from their sums and the sums of their squares (2×3)."""
    mean, square = sums / max(pixels, 1)
    return tuple(mean.tolist()), tuple(np.sqrt(np.maximum(square - mean**2, 0)).tolist())


def _measure(
    sample: Sample, encoding: MaskEncoding
) -> tuple[NDArray[np.float64], dict[int, tuple[NDArray[np.int64], Box, int]]]:
    """The sums of an image's channels and of their squares; by class, regions by size and the largest one."""
    has_mask = getattr(sample, "mask", sample) is not None
    image, mask = sample.read() if has_mask else (sample.image(), None)
    values = np.arange(256) / 255
    histograms = np.stack([np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)])
    sums = np.stack([histograms @ values, histograms @ values**2])
    if mask is None:
        return sums, {}
    present = np.flatnonzero(np.bincount(mask.ravel())[: encoding.task.num_classes])
    return sums, {index: _regions((mask == index).astype(np.uint8)) for index in present.tolist()}


def _regions(region: Mask) -> tuple[NDArray[np.int64], Box, int]:
    """Counts connected regions by size; gives the box and the area of the largest, too."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(region, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    bins = np.searchsorted(np.array(OBJECT_SIDES) ** 2, areas, side="right")
    left, top, width, height, area = (int(value) for value in stats[1 + int(areas.argmax())])
    return np.bincount(bins, minlength=len(OBJECT_SIDES) + 1), (left, top, width, height), area
