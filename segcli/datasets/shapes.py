"""The embedded dataset: drawn when it is read, so that a first training needs neither network nor files."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from segcli.datasets.dataset import Dataset
from segcli.datasets.drawing import CLASSES, IGNORE_INDEX, PALETTE, render
from segcli.datasets.prepared import Source
from segcli.io.images import Mask, Pixels
from segcli.task import Task

TASK = Task.of(CLASSES, PALETTE, IGNORE_INDEX)
# Seed and number of samples of each split; a different seed draws different pictures.
SPLITS = {"train": (0, 576), "val": (1, 96)}


@dataclass(frozen=True)
class ShapesSample:
    """One picture of the series that a seed draws."""

    seed: int
    index: int

    @property
    def name(self) -> str:
        """Its number, with leading zeros."""
        return f"{self.index:04d}"

    def image(self) -> Pixels:
        """Draws the image."""
        return self.read()[0]

    def read(self) -> tuple[Pixels, Mask]:
        """Draws the image and its mask."""
        return render(self.seed, self.index)


@cache
def dataset() -> Dataset:
    """The dataset; its classes are counted once."""
    splits = {split: [ShapesSample(seed, index) for index in range(number)] for split, (seed, number) in SPLITS.items()}
    pixels = {split: _count(samples) for split, samples in splits.items()}
    return Dataset("shapes", TASK, splits, pixels, fingerprint=f"shapes {SPLITS}")


def source() -> Source:
    """The dataset, to be written as files."""
    return Source("shapes", TASK, {}, dataset().splits, "embedded in segcli")


def _count(samples: list[ShapesSample]) -> list[int]:
    masks = np.concatenate([sample.read()[1].ravel() for sample in samples])
    counts: list[int] = np.bincount(masks, minlength=len(CLASSES))[: len(CLASSES)].tolist()
    return counts
