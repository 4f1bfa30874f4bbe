"""The embedded dataset: drawn when it is read, so that a first training needs neither network nor files."""

from dataclasses import dataclass

from segcli.components.class_weights import ClassFigures
from segcli.datasets.dataset import Dataset
from segcli.datasets.layouts.base import Source
from segcli.datasets.layouts.shapes_drawing import CLASSES, IGNORE_INDEX, PALETTE, render
from segcli.io.images import Mask, Pixels
from segcli.task import Task

TASK = Task.of(CLASSES, PALETTE, IGNORE_INDEX)
# How often each class occurs, which a test counts: drawing every picture to learn it would take seconds.
FIGURES = {
    "train": ClassFigures(
        pixels=(927423, 193343, 162782, 210898), present_pixels=(1494446, 1206785, 1249006, 1253170),
        images_with=(416, 335, 347, 351),
    ),
    "val": ClassFigures(
        pixels=(212794, 41003, 37652, 52282), present_pixels=(343731, 283595, 300655, 295578),
        images_with=(96, 79, 84, 83),
    ),
}  # fmt: skip
# Seed and number of samples of each split; a different seed draws different pictures.
SPLITS = {"train": (0, 416), "val": (1, 96)}


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


def dataset() -> Dataset:
    """The dataset."""
    splits = {split: [ShapesSample(seed, index) for index in range(number)] for split, (seed, number) in SPLITS.items()}
    return Dataset("shapes", TASK, splits, FIGURES, fingerprint=f"shapes {SPLITS}")


def source() -> Source:
    """The dataset, to be written as files."""
    return Source("shapes", "embedded in segcli", dataset().splits, TASK)
