"""Images and masks at the size that they are drawn at; thin classes outlast it."""

from typing import Any

import cv2
import numpy as np

from segcli.io.images import Mask, Pixels
from segcli.task import Task

Size = tuple[int, int]
"""Height and width."""

_SMALLEST = 192


def drawn_size(shape: tuple[int, ...]) -> Size:
    """The size that a picture of a shape (H, W, …) is drawn at: its own, or a multiple of it where it is small."""
    factor = max(round(_SMALLEST / min(shape[:2])), 1)
    return shape[0] * factor, shape[1] * factor


def size_within(shape: tuple[int, ...], most: Size) -> Size:
    """The largest size of a shape's proportions that fits into another one."""
    factor = min(most[0] / shape[0], most[1] / shape[1])
    return max(round(shape[0] * factor), 1), max(round(shape[1] * factor), 1)


def image_at(image: Pixels, size: Size) -> Pixels:
    """An image (H×W×3) at a size: areas are averaged, or pixels repeated."""
    if image.shape[:2] == size:
        return image
    mode = cv2.INTER_AREA if size[0] < image.shape[0] else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, size[::-1], interpolation=mode), np.uint8)


def mask_at(mask: Mask, size: Size, task: Task) -> Mask:
    """A mask (H×W) at a size, in which every class is still seen wherever it was.

    A pixel gets the class that covers most of it. Where a class is thinner than that, so that neither the pixel nor one
    of the eight around it shows it, the pixel gets it nevertheless; of several, the one that is rarest in the mask. A
    background and ignored pixels have no such claim.
    """
    if mask.shape == size:
        return mask
    if size[0] >= mask.shape[0]:
        return _nearest(mask, size)
    indices, counts = np.unique(mask, return_counts=True)
    shown, most, covered = np.full(size, indices[0], mask.dtype), np.zeros(size, np.float32), {}
    for index in indices.tolist():
        share = cv2.resize((mask == index).astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
        covered[index] = share > 0
        shown[share > most] = index
        np.maximum(most, share, out=most)
    around = np.ones((3, 3), np.uint8)
    for index in indices[np.argsort(-counts, kind="stable")].tolist():
        if index == task.ignore_index or (index == 0 and task.has_background):
            continue
        near = cv2.dilate((shown == index).astype(np.uint8), around).astype(bool)
        shown[covered[index] & ~near] = index
    return shown


def _nearest(mask: Any, size: Size) -> Mask:
    return np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST), mask.dtype)
