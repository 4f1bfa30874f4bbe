"""Crops of training samples: how one is drawn, cut, judged, and pasted into another."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from segcli.components.augmentations import Light
from segcli.io.images import Mask, Pixels

Size = tuple[int, int]


class Crop(NamedTuple):
    """A crop.

    Attributes:
        image: h×w×3 uint8.
        mask: h×w.
        filled: height and width of what is no padding.
    """

    image: Pixels
    mask: Mask
    filled: Size


@dataclass(frozen=True)
class CropPlan:
    """How one sample is cut from its image.

    Attributes:
        scale: factor from image to crop.
        y: place of the crop's upper edge, as a share (0…1) of the room there is for it.
        x: likewise for the left edge.
        flip: whether left and right change places.
        upside_down: whether top and bottom do.
    """

    scale: float
    y: float
    x: float
    flip: bool
    upside_down: bool = False

    @classmethod
    def draw(cls, rng: Generator, augmentation: Light, factor: float = 1.0) -> "CropPlan":
        """Draws a plan: the scale uniform in its logarithm, so that 0.5 is as likely as 2.

        Args:
            rng: draws it.
            augmentation: tells how widely.
            factor: from the image to what `scale` is a factor of.
        """
        low, high = np.log(augmentation.scale)
        return cls(
            factor * float(np.exp(rng.uniform(low, high))),
            rng.random(),
            rng.random(),
            bool(rng.random() < augmentation.hflip),
            bool(augmentation.vflip and rng.random() < augmentation.vflip),
        )

    def region(self, size: Size) -> Size:
        """Height and width, in pixels of the image, of what a crop shows."""
        height, width = (max(round(side / self.scale), 1) for side in size)
        return height, width

    def filled(self, shape: tuple[int, ...], size: Size) -> Size:
        """Height and width of the part of a crop that an image of a shape fills; padding is below and to the right."""
        height, width = (
            want_to if have >= want else min(max(round(have * self.scale), 1), want_to)
            for have, want, want_to in zip(shape[:2], self.region(size), size, strict=True)
        )
        return height, width

    def showing(self, pixel: tuple[int, int], shape: tuple[int, ...], size: Size, rng: Generator) -> "CropPlan":
        """The plan moved to a place, drawn from all that show a pixel.

        Args:
            pixel: row and column in the image.
            shape: of the image: height and width first.
            size: of the crop.
            rng: draws the place.
        """
        y, x = (
            _share(at, side, wanted, rng) for at, side, wanted in zip(pixel, shape[:2], self.region(size), strict=True)
        )
        return replace(self, y=y, x=x)


def _share(at: int, side: int, wanted: int, rng: Generator) -> float:
    room = side - wanted
    if room <= 0:
        return 0.0
    return int(rng.integers(max(at - wanted + 1, 0), min(at, room) + 1)) / room


def cut(pixels: Any, size: Size, plan: CropPlan, fill: Any) -> Any:
    """Cuts a region and resizes it to the crop's size, so that only pixels that are used are touched.

    Args:
        pixels: an image (H×W×3), or a mask (H×W), whose values are not mixed.
        size: height and width of the crop.
        plan: scale, place and flips.
        fill: what stands where the region reaches beyond the pixels.

    Returns:
        The crop, which shares no memory with what it was cut from.
    """
    wanted = plan.region(size)
    top, left = (
        round(share * max(side - want, 0))
        for share, side, want in zip((plan.y, plan.x), pixels.shape[:2], wanted, strict=True)
    )
    filled = plan.filled(pixels.shape, size)
    pixels = pixels[top : top + wanted[0], left : left + wanted[1]]
    if filled != pixels.shape[:2]:
        smooth = cv2.INTER_AREA if filled[0] < pixels.shape[0] else cv2.INTER_LINEAR
        mode = smooth if pixels.ndim == 3 else cv2.INTER_NEAREST_EXACT
        pixels = cv2.resize(pixels, filled[::-1], interpolation=mode)
    pixels = pixels[:, ::-1] if plan.flip else pixels
    return _pad(pixels[::-1] if plan.upside_down else pixels, size, fill)


def _pad(pixels: Any, size: Size, value: Any) -> Any:
    if pixels.shape[:2] == size:
        return np.require(pixels, requirements=["C", "W", "O"])
    padded = np.empty((*size, *pixels.shape[2:]), pixels.dtype)
    padded[:] = value
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    return padded


def largest_share(mask: Mask, ignore_index: int) -> float:
    """The share of the most frequent class among the pixels that are not ignored; 1 where all are."""
    counts = np.bincount(mask.ravel(), minlength=ignore_index + 1)
    counts[ignore_index] = 0
    return float(counts.max() / max(counts.sum(), 1)) if counts.any() else 1.0


def paste(source: Crop, target: Crop, classes: NDArray[np.bool_]) -> None:
    """Copies the pixels of some classes, and their labels, from one crop over another of the same size.

    Source: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", 2021,
    whose edges need no blending.

    Args:
        source: where the pixels come from.
        target: changed in place; padding stays padding.
        classes: for each mask value, whether it is copied.
    """
    height, width = target.filled
    chosen = classes[source.mask].astype(np.uint8)
    chosen[height:] = 0
    chosen[:, width:] = 0
    cv2.copyTo(source.image, chosen, target.image)
    cv2.copyTo(source.mask, chosen, target.mask)
