"""The figures that a plan is made from: sizes, shares of classes, how thin they are, and which side is up."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segcli.datasets.dataset import Dataset, Sample, mask_of
from segcli.engine.planning.orientation import GRID, Orientation, orientation
from segcli.errors import DataError
from segcli.io.images import Mask
from segcli.parallel import Progress, each, silent

_MOST_MASKS = 400  # that are looked at; more would tell the same
_MOST_PIXELS = 400_000_000  # of them together, about
_LEAST_MASKS = 40
_MOST_PLACED = 32  # classes whose places are compared: those that cover most
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
        val_images_with: validation images that hold it.
        widths: typical width of its regions in pixels, the median over the images that were looked at; NaN where it
            occurs in none of them.
        orientation: which flips and turns the masks look alike under.
    """

    name: str
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    sizes: tuple[tuple[int, int], ...]
    shares: tuple[float, ...]
    images_with: tuple[int, ...]
    val_images_with: tuple[int, ...]
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
        told = [
            index
            for index in self.occurring
            if self.images_with[index] >= least and index != self.background and isfinite(self.widths[index])
        ]
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
        raise DataError(
            f"{dataset.name} has no {missing} split, and a training needs both; give it images of its own, or put all "
            f"into one folder, which is dealt to both (--ratios)"
        )
    images_with, val_images_with = (_images_with(dataset, split, progress) for split in ("train", "val"))
    occurring = [dataset.task.classes[index] for index, images in enumerate(images_with) if images]
    if len(occurring) < 2:
        what = f"hold {occurring[0]!r} alone" if occurring else "are ignored throughout"
        raise DataError(f"the training masks of {dataset.name} {what}; there is nothing to tell apart")
    shares = dataset.class_share("train")
    placed = sorted(range(len(shares)), key=lambda index: -shares[index])[:_MOST_PLACED]
    number = min(_MOST_MASKS, max(_MOST_PIXELS // mask_of(train[0]).size, _LEAST_MASKS))
    chosen = [train[place] for place in spread(len(train), number)]
    looks = list(each(partial(_look, num_classes=len(shares), placed=placed), chosen, "measuring masks", progress))
    widths = np.stack([look.widths for look in looks])
    held = ~np.isnan(widths)
    return Figures(
        name=dataset.name,
        classes=dataset.task.classes,
        train_images=len(train),
        val_images=len(val),
        sizes=tuple(look.size for look in looks),
        shares=tuple(shares),
        images_with=images_with,
        val_images_with=val_images_with,
        widths=tuple(
            float(np.median(column[there])) if there.any() else float("nan")
            for column, there in zip(widths.T, held.T, strict=True)
        ),
        orientation=orientation(np.stack([look.grid for look in looks])),
    )


def _images_with(dataset: Dataset, split: str, progress: Progress) -> tuple[int, ...]:
    """By class, the images of a split that hold it; masks are read where nobody counted."""
    counted = dataset.figures[split].images_with if split in dataset.figures else None
    return tuple(counted or (len(held) for held in dataset.samples_with_class(split, progress)))


def spread(length: int, number: int) -> list[int]:
    """At most so many places of a list, from all over."""
    places: list[int] = np.linspace(0, length - 1, min(length, number)).astype(int).tolist()
    return places


@dataclass(frozen=True)
class _Look:
    """What one mask shows."""

    size: tuple[int, int]
    widths: NDArray[np.float64]  # by class, NaN where it does not occur
    grid: NDArray[np.float64]  # P×GRID×GRID, the share of each cell of each class that is placed


def _look(sample: Sample, num_classes: int, placed: Sequence[int]) -> _Look:
    mask = mask_of(sample)
    grid = np.zeros((len(placed), GRID, GRID))
    widths = np.full(num_classes, np.nan)
    for index in np.flatnonzero(np.bincount(mask.ravel())[:num_classes]).tolist():
        region = (mask == index).astype(np.uint8)
        widths[index] = region_width(region)
        if index in placed:
            cells = cv2.resize(region.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
            grid[placed.index(index)] = cells
    return _Look((mask.shape[0], mask.shape[1]), widths, grid)


def region_width(region: Mask) -> float:
    """The typical width of a region's parts in pixels, weighted by their area; the sides of a long strip are its width.

    In a strip of width w the distance to the border, counted in whole pixels from 1, is (w + 2) / 4 in the mean.

    Args:
        region: H×W uint8, not 0 inside; what lies beyond the image counts as inside.
    """
    left, top, width, height = cv2.boundingRect(region)  # what lies farther off is never the nearest outside
    part = region[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1]
    distance = cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(max(4 * distance[part > 0].mean() - 2, 1))
