"""Where a mask comes from: an image file, or an annotation that is drawn."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from segcli.errors import FileProblem
from segcli.io.images import Mask, colour_values, decode, mask_values, read_mask, read_whole


@dataclass(frozen=True)
class MaskLook:
    """What a mask holds."""

    size: tuple[int, int]  # height and width
    values: Mapping[int, int]  # pixels by value
    digest: str  # sha256 of its content
    peculiarities: tuple[str, ...] = ()  # kinds of notes


class MaskSource(Protocol):
    """A mask as integers, whose meaning an encoding knows."""

    @property
    def path(self) -> Path:
        """The file it comes from."""

    def values(self, height: int, width: int) -> Mask:
        """The integers, H×W; a mask that is drawn gets the given size, that of the image.

        Raises:
            FileProblem: if the file cannot be used.
        """

    def instances(self, height: int, width: int) -> Mask | None:
        """The number of the object (from 1, over all classes) at each pixel, H×W uint16; 0 where there is none.

        None where the source tells no objects apart.
        """


@dataclass(frozen=True)
class MaskFile:
    """A mask in an image file, and maybe another one that tells objects apart."""

    path: Path
    colours: bool = False  # its values are colours, as 0xRRGGBB
    instance_path: Path | None = None
    instance_values: tuple[int, int] = (1, 65535)  # the first and the last value that are objects

    def values(self, height: int, width: int) -> Mask:
        """The integers as they stand in the file, whatever the image's size."""
        return read_mask(self.path, self.colours)

    def instances(self, height: int, width: int) -> Mask | None:
        """The objects of the second file, numbered from 1 in the order of their values."""
        if self.instance_path is None:
            return None
        return number_objects(read_mask(self.instance_path), *self.instance_values)

    def look(self) -> MaskLook:
        """Decodes the file in full, checksums included, and says what it holds."""
        content = read_whole(self.path)
        decoded = decode(self.path, content)
        image, peculiarities = decoded.image, [*decoded.peculiarities()]
        if decoded.format == "JPEG":
            peculiarities.append("jpeg-mask")
        if image.mode in {"L", "P"} and not self.colours:
            values = {value: count for value, count in enumerate(image.histogram()) if count}
        else:
            values = count_values(colour_values(image) if self.colours else mask_values(image, self.path))
            if image.mode.startswith("I") and max(values) <= 255:
                peculiarities.append("sixteen-bit")
        digest = hashlib.sha256(content)
        if self.instance_path is not None and self.instance_path.is_file():
            digest.update(self.instance_path.read_bytes())
        return MaskLook(decoded.size, values, digest.hexdigest(), tuple(peculiarities))


def look_at_mask(mask: MaskSource, height: int, width: int) -> MaskLook:
    """Reads a mask in full and says what it holds; raises as its `values` does."""
    if isinstance(mask, MaskFile):
        return mask.look()
    values = mask.values(height, width)
    digest = hashlib.sha256(f"{values.shape[0]} {values.shape[1]} ".encode() + values.tobytes()).hexdigest()
    return MaskLook((values.shape[0], values.shape[1]), count_values(values), digest)


def objects_problem(mask: MaskSource, height: int, width: int) -> str:
    """What is wrong with the file that tells the objects of a mask apart; empty where nothing is, or it has none."""
    if getattr(mask, "instance_path", None) is None:
        return ""
    try:
        objects = mask.instances(height, width)
    except FileProblem as problem:
        return str(problem)
    if objects is None or objects.shape == (height, width):
        return ""
    return f"the objects of {mask.path} are of {objects.shape[1]}×{objects.shape[0]}, but it is {width}×{height}"


def count_values(values: Mask) -> dict[int, int]:
    """Pixels by value."""
    if values.max(initial=0) <= 65535:
        histogram = np.bincount(values.ravel())
        present = np.flatnonzero(histogram)
        counts = histogram[present]
    else:
        present, counts = np.unique(values, return_counts=True)
    return dict(zip(present.tolist(), counts.tolist(), strict=True))


def number_objects(values: Mask, first: int, last: int) -> Mask:
    """Numbers the values first…last from 1 in their order; others become 0."""
    objects = np.unique(values)
    objects = objects[(objects >= first) & (objects <= last)]
    numbers = np.searchsorted(objects, values) + 1
    return np.where(np.isin(values, objects), numbers, 0).astype(np.uint16)
