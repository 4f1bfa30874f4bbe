"""A dataset as everything downstream sees it: named samples in splits, whose masks are class indices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segcli.errors import DataError
from segcli.io.images import Mask, Pixels, read_image, read_mask
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
    """Samples in splits.

    Attributes:
        name: what it is called.
        task: its classes.
        splits: the samples of train, val and maybe test.
        class_pixels: for each split that has masks, the number of pixels of each class.
        fingerprint: changes when any file changes.
    """

    name: str
    task: Task
    splits: Mapping[str, Sequence[Sample]]
    class_pixels: Mapping[str, Sequence[int]]
    fingerprint: str

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
        pixels = self.class_pixels[split]
        total = max(sum(pixels), 1)
        return [count / total for count in pixels]


class MaskEncoding:
    """Turns the values of mask files into class indices, and refuses the values that no class has.

    Args:
        task: the classes and the ignore index.
        value_map: what other values mean.
    """

    def __init__(self, task: Task, value_map: Mapping[int, int]) -> None:
        self.task = task
        self.value_map = dict(value_map)
        self.dtype = np.uint8 if max(task.num_classes - 1, task.ignore_index) <= 255 else np.int32
        self._table = _lookup_table(task, value_map)

    def encode(self, values: Mask, source: Path) -> Mask:
        """Maps a mask (H×W) to class indices.

        Raises:
            DataError: naming the file and the values that mean nothing.
        """
        indices = self._table[values] if values.max(initial=0) < len(self._table) else None
        if indices is None or indices.min(initial=0) < 0:
            present = np.unique(values)
            inside = present[present < len(self._table)]
            strange = [*inside[self._table[inside] < 0], *present[present >= len(self._table)]]
            raise DataError(unknown_values(source, [int(value) for value in strange], self.task))
        return indices.astype(self.dtype)


def unknown_values(source: Path, values: Sequence[int], task: Task) -> str:
    """The message for mask values that no class has."""
    shown = ", ".join(str(value) for value in values[:8]) + (", …" if len(values) > 8 else "")
    return (
        f"{source} holds {shown}, but classes run 0…{task.num_classes - 1} and {task.ignore_index} is ignored. "
        f"Say what it means, with `dataset.map: {{{values[0]}: CLASS}}` in the config (or --map "
        f"{values[0]}=CLASS), or mend the mask."
    )


def _lookup_table(task: Task, value_map: Mapping[int, int]) -> NDArray[np.int32]:
    largest = max(255, task.num_classes - 1, task.ignore_index, *value_map)
    table = np.full(largest + 1, -1, np.int32)
    table[: task.num_classes] = np.arange(task.num_classes)
    table[task.ignore_index] = task.ignore_index
    for value, index in value_map.items():
        table[value] = index
    return table


@dataclass(frozen=True)
class FileSample:
    """A sample whose image and mask are files."""

    name: str
    image_path: Path
    mask_path: Path | None
    encoding: MaskEncoding

    def image(self) -> Pixels:
        """Reads the image."""
        return read_image(self.image_path)

    def read(self) -> tuple[Pixels, Mask]:
        """Reads the image and its mask as class indices; raises DataError where their sizes differ."""
        if self.mask_path is None:
            raise DataError(f"{self.image_path} has no mask; only `seg predict` can use it")
        image = read_image(self.image_path)
        mask = self.encoding.encode(read_mask(self.mask_path), self.mask_path)
        check_same_size(image.shape[:2], mask.shape, self.image_path, self.mask_path)
        return image, mask


def check_same_size(image: tuple[int, ...], mask: tuple[int, ...], image_path: Path, mask_path: Path) -> None:
    """Raises DataError where an image and its mask differ in height or width."""
    if image != mask:
        raise DataError(
            f"{mask_path} is {mask[1]}×{mask[0]}, but its image {image_path} is {image[1]}×{image[0]} "
            f"(width×height); make them the same size"
        )
