"""A dataset as everything downstream sees it: named samples in splits, whose masks are class indices."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from segcli.components.class_weights import ClassFigures
from segcli.datasets.encoding import MaskEncoding
from segcli.datasets.masks import MaskFile, MaskSource
from segcli.errors import DataError, FileProblem
from segcli.io.images import Mask, Pixels, read_image
from segcli.parallel import Progress, each, silent
from segcli.task import Task

SPLITS = ("train", "val", "test")


class Sample(Protocol):
    """One image with its mask."""

    @property
    def name(self) -> str:
        """The path below its split, without suffix."""

    def image(self) -> Pixels:
        """Reads the image: H×W×3 uint8 RGB."""

    def read(self) -> tuple[Pixels, Mask]:
        """Reads the image and its mask: H×W class indices, or the ignore index."""


@dataclass(frozen=True)
class Dataset:
    """Samples in splits: train, val and maybe test."""

    name: str
    task: Task
    splits: Mapping[str, Sequence[Sample]]
    figures: Mapping[str, ClassFigures]  # how often each class occurs, for each split that has masks
    fingerprint: str  # changes when any file changes
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)  # groups of classes, where it has them
    remarks: Sequence[str] = ()  # what a user of the dataset should know, a line each
    held: Mapping[str, Sequence[Sequence[int] | None]] = field(default_factory=dict)
    """For each split, the classes that each sample's mask holds; None where they are not known."""

    def split(self, name: str) -> Sequence[Sample]:
        """The samples of a split.

        Raises:
            DataError: if the dataset has none.
        """
        if not self.splits.get(name):
            known = ", ".join(split for split, samples in self.splits.items() if samples)
            raise DataError(f"dataset {self.name} has no {name} split; it has {known}")
        return self.splits[name]

    def class_share(self, split: str) -> list[float]:
        """Each class's share (0…1) of the split's pixels that are not ignored."""
        pixels = self.figures[split].pixels
        total = max(sum(pixels), 1)
        return [count / total for count in pixels]

    def samples_with_class(self, split: str, progress: Progress = silent) -> list[list[int]]:
        """By class, the indices of the samples of a split whose masks hold a pixel of it.

        Masks of which it is not known what they hold are read.

        Raises:
            DataError: if there is no such split, or naming the mask that cannot be read.
        """
        samples = self.split(split)
        held = self.held.get(split) or [None] * len(samples)
        unknown = [sample for sample, classes in zip(samples, held, strict=True) if classes is None]
        read = each(_values_in, unknown, "looking for classes", progress)
        found: list[list[int]] = [[] for _ in range(self.task.num_classes)]
        for index, classes in enumerate(held):
            for value in next(read) if classes is None else classes:
                if value < self.task.num_classes and value != self.task.ignore_index:
                    found[value].append(index)
        return found


@dataclass(frozen=True)
class FileSample:
    """A sample whose image and mask are files."""

    name: str  # the path below its split, without suffix
    image_path: Path
    mask: MaskSource | None  # None as in a test split
    encoding: MaskEncoding  # what the mask's values mean

    def image(self) -> Pixels:
        """Reads the image."""
        return read_image(self.image_path)

    def read(self) -> tuple[Pixels, Mask]:
        """Reads the image and its mask as class indices; raises DataError where their sizes differ."""
        if self.mask is None:
            raise DataError(f"{self.image_path} has no mask; only `seg predict` can use it")
        image = read_image(self.image_path)
        height, width = image.shape[:2]
        mask = self.encoding.encode(self.mask.values(height, width), self.mask.path)
        check_same_size((height, width), mask.shape, self.image_path, self.mask.path)
        return image, mask

    def instances(self) -> Mask | None:
        """The number of the object at each pixel (H×W uint16, 0 for none); None where the source tells none apart."""
        height, width = self.image().shape[:2]
        return None if self.mask is None else self.mask.instances(height, width)


def check_same_size(image: tuple[int, ...], mask: tuple[int, ...], image_path: Path, mask_path: Path) -> None:
    """Raises FileProblem where an image and its mask differ in height or width."""
    if image != mask:
        raise FileProblem(
            f"{mask_path} is {mask[1]}×{mask[0]}, but its image {image_path} is {image[1]}×{image[0]} "
            f"(width×height); make them the same size",
            "size-mismatch",
        )


def mask_of(sample: Sample) -> Mask:
    """A sample's mask; its image is not decoded where the mask has its size from elsewhere."""
    if isinstance(sample, FileSample) and isinstance(sample.mask, MaskFile):
        return sample.encoding.encode(sample.mask.values(0, 0), sample.mask.path)
    return sample.read()[1]


def _values_in(sample: Sample) -> list[int]:
    present: list[int] = np.flatnonzero(np.bincount(mask_of(sample).ravel())).tolist()
    return present


def fingerprint(rows: Iterable[tuple[object, ...]], meaning: str = "") -> str:
    """The sha256 over what tells files apart, a row each, and over what their values mean."""
    digest = hashlib.sha256(meaning.encode())
    for row in rows:
        digest.update(("\0".join(map(str, row)) + "\n").encode())
    return digest.hexdigest()
