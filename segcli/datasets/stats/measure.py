"""Figures of a dataset: pixels, images and objects of each class, sizes, brightness, and the weights that follow."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segcli.components.class_weights import effective_number, median_frequency
from segcli.datasets.check.judge import Survey
from segcli.datasets.check.kinds import refuse_errors
from segcli.datasets.dataset import Sample
from segcli.datasets.encoding import MaskEncoding
from segcli.errors import DataError
from segcli.io.images import Mask, Pixels
from segcli.parallel import Progress, each, silent
from segcli.task import Task

OBJECT_SIDES = (8, 16, 32, 64, 128, 256)
"""Limits between the bins of the object histogram: side of the square of an object's area, in pixels."""

NUM_EXAMPLES = 4


@dataclass(frozen=True)
class Example:
    """Where a class shows well.

    Attributes:
        split: its split.
        place: index of the sample in its split.
        name: of the sample.
        box: left, top, width and height of the largest object.
        area: its pixels.
    """

    split: str
    place: int
    name: str
    box: tuple[int, int, int, int]
    area: int


@dataclass(frozen=True)
class SplitFigures:
    """Figures of a split; one entry a class where it says so.

    Attributes:
        images: number of images.
        sizes: images by (height, width).
        mean: of red, green and blue, 0…1.
        std: likewise, over all pixels.
        pixels: by class; None where the split has no masks.
        present_pixels: by class, the valid pixels of the images that hold it.
        images_with: by class, the images that hold it.
        objects: by class, connected regions (8 neighbours) by size: the bins between OBJECT_SIDES.
        ignored: pixels that are ignored.
    """

    images: int
    sizes: Mapping[tuple[int, int], int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    pixels: Sequence[int] | None
    present_pixels: Sequence[int]
    images_with: Sequence[int]
    objects: Sequence[Sequence[int]]
    ignored: int

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
            "pixels": None if self.pixels is None else list(self.pixels),
            "pixel_share": self.shares(),
            "images_with": list(self.images_with),
            "objects": [list(bins) for bins in self.objects],
            "ignored": self.ignored,
        }


@dataclass(frozen=True)
class Statistics:
    """Figures of a dataset.

    Attributes:
        name: of the dataset.
        task: its classes.
        splits: figures by split.
        examples: by class, where it shows well.
        samples: by split, to draw the examples from.
    """

    name: str
    task: Task
    splits: Mapping[str, SplitFigures]
    examples: Sequence[Sequence[Example]]
    samples: Mapping[str, Sequence[Sample]]

    def class_weights(self) -> dict[str, list[float]]:
        """The weights of the classes by two rules of the losses, from the training images."""
        figures = self.splits["train"]
        return {
            "median_frequency": median_frequency(figures.pixels or (), figures.present_pixels),
            "effective_number": effective_number(figures.images_with),
        }

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

    Args:
        found: the dataset.
        progress: told of each sample.
        where_to_look: the command that lists all findings.

    Raises:
        DataError: if something is wrong with it.
    """
    refuse_errors((finding for finding in found.findings if finding.kind != "duplicate"), where_to_look)
    encoding, samples = found.settled(), found.samples()
    if not samples.get("train"):
        raise DataError(f"{found.source.origin} has no train split to measure")
    splits, examples = {}, _Examples(encoding.task.num_classes)
    for split, items in samples.items():
        work = each(partial(_measure, encoding=encoding), items, f"measuring {split}", progress)
        total = _Sums(encoding.task.num_classes)
        for place, measured in enumerate(work):
            total.add(measured)
            examples.add(split, place, items[place].name, measured)
        splits[split] = total.figures()
    return Statistics(found.source.name, encoding.task, splits, examples.chosen(), samples)


@dataclass(frozen=True)
class _Measured:
    """Figures of one sample."""

    size: tuple[int, int]
    sums: NDArray[np.float64]  # of the channels, and of their squares
    pixels: NDArray[np.int64] | None
    ignored: int
    objects: Mapping[int, NDArray[np.int64]]  # by class, regions by size
    largest: Mapping[int, tuple[tuple[int, int, int, int], int]]  # by class, box and area of the largest region


def _measure(sample: Sample, encoding: MaskEncoding) -> _Measured:
    has_mask = getattr(sample, "mask", sample) is not None
    image, mask = sample.read() if has_mask else (sample.image(), None)
    size, sums = (image.shape[0], image.shape[1]), _channel_sums(image)
    if mask is None:
        return _Measured(size, sums, None, 0, {}, {})
    number = encoding.task.num_classes
    counts = np.bincount(mask.ravel(), minlength=number)
    pixels, objects, largest = counts[:number].astype(np.int64), {}, {}
    for index in np.flatnonzero(pixels).tolist():
        objects[index], largest[index] = _regions(mask == index)
    return _Measured(size, sums, pixels, int(mask.size - pixels.sum()), objects, largest)


def _channel_sums(image: Pixels) -> NDArray[np.float64]:
    """The sums of values and of their squares, channel by channel, from histograms."""
    values = np.arange(256) / 255
    histograms = np.stack([np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)])
    return np.stack([histograms @ values, histograms @ values**2])


def _regions(region: Mask) -> tuple[NDArray[np.int64], tuple[tuple[int, int, int, int], int]]:
    """Counts connected regions by size; gives the box and the area of the largest, too."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    bins = np.searchsorted(np.array(OBJECT_SIDES) ** 2, areas, side="right")
    left, top, width, height, area = (int(value) for value in stats[1 + int(areas.argmax())])
    return np.bincount(bins, minlength=len(OBJECT_SIDES) + 1), ((left, top, width, height), area)


class _Sums:
    """Adds up the figures of samples."""

    def __init__(self, num_classes: int) -> None:
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.sums = np.zeros((2, 3))
        self.pixels, self.present, self.images_with = (np.zeros(num_classes, np.int64) for _ in range(3))
        self.objects = np.zeros((num_classes, len(OBJECT_SIDES) + 1), np.int64)
        self.ignored, self.masks = 0, 0

    def add(self, measured: _Measured) -> None:
        self.sizes[measured.size] += 1
        self.sums += measured.sums
        if measured.pixels is None:
            return
        self.masks += 1
        self.pixels += measured.pixels
        held = measured.pixels > 0
        self.present[held] += measured.pixels.sum()
        self.images_with += held
        self.ignored += measured.ignored
        for index, bins in measured.objects.items():
            self.objects[index] += bins

    def figures(self) -> SplitFigures:
        number = max(sum(height * width * count for (height, width), count in self.sizes.items()), 1)
        mean = self.sums[0] / number
        std = np.sqrt(np.maximum(self.sums[1] / number - mean**2, 0))
        return SplitFigures(
            sum(self.sizes.values()),
            dict(self.sizes.most_common()),
            (float(mean[0]), float(mean[1]), float(mean[2])),
            (float(std[0]), float(std[1]), float(std[2])),
            self.pixels.tolist() if self.masks else None,
            self.present.tolist(),
            self.images_with.tolist(),
            self.objects.tolist(),
            self.ignored,
        )


class _Examples:
    """Keeps the samples with the largest objects of each class."""

    def __init__(self, num_classes: int) -> None:
        self.kept: list[list[Example]] = [[] for _ in range(num_classes)]

    def add(self, split: str, place: int, name: str, measured: _Measured) -> None:
        for index, (box, area) in measured.largest.items():
            kept = self.kept[index]
            kept.append(Example(split, place, name, box, area))
            kept.sort(key=lambda example: -example.area)
            del kept[NUM_EXAMPLES:]

    def chosen(self) -> list[list[Example]]:
        return self.kept
