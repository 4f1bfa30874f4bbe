"""Parity: does an exported file give the labels of the model it was made from?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcli.engine.arrays import operations
from segcli.engine.prediction.predictor import Predictor
from segcli.engine.prediction.resizing import resize_images
from segcli.errors import ExportError
from segcli.io.images import Pixels
from segcli.parallel import Progress, silent


@dataclass(frozen=True)
class Agreement:
    """How far two predictors agree on images of one size.

    Attributes:
        size: height and width.
        num_images: how many were compared.
        labels: share (0…1) of the pixels with the same label.
        difference: largest absolute difference of the logits.
    """

    size: tuple[int, int]
    num_images: int
    labels: float
    difference: float


@dataclass(frozen=True)
class Parity:
    """The result of an export.

    Attributes:
        path: the file.
        agreements: one a size.
        required: the share of equal labels that was asked for.
        images: where the images came from.
    """

    path: Path
    agreements: tuple[Agreement, ...]
    required: float
    images: str


def compare(
    reference: Predictor, exported: Predictor, images: Sequence[Pixels], progress: Progress = silent
) -> tuple[Agreement, ...]:
    """Compares two predictors at the first image's own size, and at an odd one.

    Args:
        reference: what is right; takes any size.
        exported: what is checked; takes any size.
        images: H×W×3 each.
        progress: told of each image at each size.
    """
    height, width = images[0].shape[:2]
    sizes = ((height, width), odd_size(height, width))
    found = []
    for size in sizes:
        equal, difference = 0.0, 0.0
        for done, image in enumerate(images, 1):
            batch = resize_images(image[None], size) if image.shape[:2] != size else image[None]
            truth, logits = (operations(each).to_numpy(each) for each in (reference(batch), exported(batch)))
            if truth.shape != logits.shape:
                raise ExportError(
                    f"the exported file gives logits of {logits.shape} where the model gives {truth.shape}"
                )
            equal += float((truth.argmax(axis=1) == logits.argmax(axis=1)).mean())
            difference = max(difference, float(np.abs(truth - logits).max()))
            progress(f"comparing at {size[1]}×{size[0]}", done, len(images))
        found.append(Agreement(size, len(images), equal / len(images), difference))
    return tuple(found)


def odd_size(height: int, width: int) -> tuple[int, int]:
    """A size near the given one that is neither square nor divisible by 2."""
    low, wide = round(height * 0.965) | 1, width | 1
    return low, wide + 2 if wide == low else wide
