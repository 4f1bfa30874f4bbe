"""The figures that a plan is made from: sizes, shares of classes, how thin they are, and which side is up."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segcli.datasets.dataset import Dataset, Sample
from segcli.engine.planning.orientation import GRID, Orientation, orientation
from segcli.errors import DataError
from segcli.io.images import Mask
from segcli.parallel import Progress, each, silent

_MOST_MASKS = 400  # that are looked at; more would tell the same
_RARELY = 0.02  # share of the images; a class in fewer decides nothing by its width


@dataclass(frozen=True)
class Figures:
    """What a plan needs to know of a dataset; the lists have one entry a class.

    Attributes:
        name: of the dataset.
        classes: their names.
        train_images: number of images of the train split.
        val_images: likewise of the val split.
        sizes: height and width of each training image that was looked at.
        shares: each class's share (0…1) of the training pixels that count.
        images_with: training images that hold it.
        widths: typical width of its regions in pixels, the median over images; NaN where it does not occur.
        orientation: which flips and turns the masks look alike under.
    """

    name: str
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    sizes: tuple[tuple[int, int], ...]
    shares: tuple[float, ...]
    images_with: tuple[int, ...]
    widths: tuple[float, ...]
    orientation: Orientation

    @property
    def size(self) -> tuple[int, int]:
        """The median height and width."""
        height, width = np.median(np.array(self.sizes), axis=0)
        return int(height), int(width)

    @property
    def short_side(self) -> int:
        """The median of the images' short sides."""
        return int(np.median(np.array(self.sizes).min(axis=1)))

    @property
    def occurring(self) -> tuple[int, ...]:
        """The classes that the training masks hold."""
        return tuple(index for index, images in enumerate(self.images_with) if images)

    @property
    def background(self) -> int:
        """The class that covers most."""
        return int(np.argmax(self.shares))

    @property
    def thinnest(self) -> int | None:
        """The class with the thinnest regions among those that are not too rare to tell; None where there is none."""
        least = max(_RARELY * self.train_images, 1)
        told = [index for index in self.occurring if self.images_with[index] >= least and index != self.background]
        return min(told, key=lambda index: self.widths[index], default=None)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return {
            "name": self.name,
            "train_images": self.train_images,
            "val_images": self.val_images,
            "size": list(self.size),
            "short_sides": [min(map(min, self.sizes)), max(map(min, self.sizes))],
            "classes": {
                name: {"share": share, "images": images, "width": None if np.isnan(width) else width}
                for name, share, images, width in zip(
                    self.classes, self.shares, self.images_with, self.widths, strict=True
                )
            },
            "orientation": self.orientation.to_json(),
        }


def measure_figures(dataset: Dataset, progress: Progress = silent) -> Figures:
    """Measures a dataset; reads at most 400 training masks, spread evenly.

    Raises:
        DataError: if there is nothing to train on, nothing to validate on, or no mask holds a second class.
    """
    train, val = dataset.splits.get("train", ()), dataset.splits.get("val", ())
    if not train or not val:
        missing = "train" if not train else "val"
        raise DataError(f"{dataset.name} has no {missing} split; a training needs both: seg dataset prepare --ratios")
    num_classes = dataset.task.num_classes
    images_with = tuple(len(held) for held in dataset.samples_with_class("train", progress))
    occurring = [dataset.task.classes[index] for index, images in enumerate(images_with) if images]
    if len(occurring) < 2:
        what = f"hold {occurring[0]!r} alone" if occurring else "are ignored throughout"
        raise DataError(f"the training masks of {dataset.name} {what}; there is nothing to tell apart")
    chosen = [train[place] for place in np.linspace(0, len(train) - 1, min(len(train), _MOST_MASKS)).astype(int)]
    looks = list(each(partial(_look, num_classes=num_classes), chosen, "measuring masks", progress))
    widths = np.stack([look.widths for look in looks])
    held = ~np.isnan(widths)
    return Figures(
        name=dataset.name,
        classes=dataset.task.classes,
        train_images=len(train),
        val_images=len(val),
        sizes=tuple(look.size for look in looks),
        shares=tuple(dataset.class_share("train")),
        images_with=images_with,
        widths=tuple(
            float(np.median(column[there])) if there.any() else float("nan")
            for column, there in zip(widths.T, held.T, strict=True)
        ),
        orientation=orientation(np.stack([look.grid for look in looks])),
    )


@dataclass(frozen=True)
class _Look:
    """What one mask shows."""

    size: tuple[int, int]
    widths: NDArray[np.float64]  # by class, NaN where it does not occur
    grid: NDArray[np.float64]  # C×GRID×GRID, each class's share of each cell


def _look(sample: Sample, num_classes: int) -> _Look:
    _, mask = sample.read()
    grid = np.zeros((num_classes, GRID, GRID))
    widths = np.full(num_classes, np.nan)
    for index in np.unique(mask):
        if index < num_classes:
            region = (mask == index).astype(np.uint8)
            grid[index] = cv2.resize(region.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
            widths[index] = region_width(region)
    return _Look((mask.shape[0], mask.shape[1]), widths, grid)


def region_width(region: Mask) -> float:
    """The typical width of a region's parts in pixels, weighted by their area; the sides of a long strip are its width.

    In a strip of width w the distance to the border, counted in whole pixels from 1, is (w + 2) / 4 in the mean.

    Args:
        region: H×W uint8, not 0 inside; what lies beyond the image counts as inside.
    """
    distance = cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(max(4 * distance[region > 0].mean() - 2, 1))
