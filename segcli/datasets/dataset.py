"""A dataset as everything downstream sees it: named samples in splits, whose masks are class indices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segcli.datasets.masks import MaskSource
from segcli.errors import DataError, FileProblem
from segcli.io.images import Mask, Pixels, read_image
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
        categories: groups of classes, where the dataset has them.
        remarks: what a user of the dataset should know, a line each.
    """

    name: str
    task: Task
    splits: Mapping[str, Sequence[Sample]]
    class_pixels: Mapping[str, Sequence[int]]
    fingerprint: str
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    remarks: Sequence[str] = ()

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


@dataclass(frozen=True)
class MaskEncoding:
    """Turns the values of masks into class indices, and refuses the values that no class has.

    Attributes:
        task: the classes and the ignore index.
        value_map: what other values mean.
        colours: the values are colours (0xRRGGBB), of which only those in the map mean something.
    """

    task: Task
    value_map: Mapping[int, int] = field(default_factory=dict)
    colours: bool = False

    @property
    def dtype(self) -> Any:
        """The narrowest type that holds every class index and the ignore index."""
        return np.uint8 if max(self.task.num_classes - 1, self.task.ignore_index) <= 255 else np.int32

    def encode(self, values: Mask, source: Path) -> Mask:
        """Maps a mask (H×W) to class indices.

        Raises:
            FileProblem: naming the file and the values that mean nothing.
        """
        indices = self._encode_bytes(values) if values.dtype == np.uint8 and self._codes else self._encode_any(values)
        if indices is None:
            strange = [value for value in np.unique(values).tolist() if self.meaning(value) is None]
            raise FileProblem(unknown_values(source, strange, self.task, self.colours), "unknown-values")
        return indices

    def _encode_any(self, values: Mask) -> Mask | None:
        """The indices; None where a value has no meaning."""
        if values.max(initial=0) >= len(self._table):
            return None
        meanings = self._table[values]
        return None if meanings.min(initial=1) == 0 else (meanings - 1).astype(self.dtype)

    def _encode_bytes(self, values: Mask) -> Mask | None:
        """As `_encode_any`, a dozen times as fast for values and indices of 8 bits."""
        assert self._codes is not None
        codes, nothing = self._codes
        indices = bytearray(values.tobytes().translate(codes))
        return None if nothing in indices else np.frombuffer(indices, np.uint8).reshape(values.shape)

    @cached_property
    def _codes(self) -> tuple[bytes, int] | None:
        """The byte for each byte, and a byte that is no index, for values without a meaning; None where all are."""
        used = {*range(self.task.num_classes), self.task.ignore_index}
        free = next((code for code in range(255, -1, -1) if code not in used), None)
        if free is None or max(used) > 255:
            return None
        meanings = [self.meaning(value) for value in range(256)]
        return bytes(free if meaning is None else meaning for meaning in meanings), free

    def meaning(self, value: int) -> int | None:
        """The class index (or the ignore index) of a value; None where it has none."""
        index = self.value_map.get(value, -1 if self.colours else value)
        return index if index == self.task.ignore_index or 0 <= index < self.task.num_classes else None

    def count_classes(self, values: Mapping[int, int]) -> list[int]:
        """Pixels of each class, from pixels by value; those without a class count nowhere."""
        pixels = [0] * self.task.num_classes
        for value, count in values.items():
            index = self.meaning(value)
            if index is not None and index != self.task.ignore_index:
                pixels[index] += count
        return pixels

    @cached_property
    def _table(self) -> NDArray[np.int32]:
        """By value, the meaning plus 1; 0 where it has none (so that the pages of unused colours stay untouched)."""
        task = self.task
        known = {*self.value_map, *(() if self.colours else {*range(task.num_classes), task.ignore_index})}
        table = np.zeros(max(255, *known) + 1, np.int32)
        for value in known:
            meaning = self.meaning(value)
            table[value] = 0 if meaning is None else meaning + 1
        return table

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in {"_table", "_codes"}}


def unknown_values(source: Path, values: Sequence[int], task: Task, colours: bool = False) -> str:
    """The message for mask values that no class has."""
    names = [f"#{value:06x}" if colours else str(value) for value in values[:8]]
    shown = ", ".join(names) + (", …" if len(values) > 8 else "")
    if colours:
        return f"{source} holds {shown}, which the palette does not list; add a line for it, or mend the mask."
    return (
        f"{source} holds {shown}, but classes run 0…{task.num_classes - 1} and {task.ignore_index} is ignored. "
        f"Say what it means, with `dataset.map: {{{values[0]}: CLASS}}` in the config (or --map "
        f"{values[0]}=CLASS), or mend the mask."
    )


@dataclass(frozen=True)
class FileSample:
    """A sample whose image and mask are files.

    Attributes:
        name: the path below its split, without suffix.
        image_path: the image file.
        mask: where the mask comes from; None where there is none, as in a test split.
        encoding: what its values mean.
    """

    name: str
    image_path: Path
    mask: MaskSource | None
    encoding: MaskEncoding

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
