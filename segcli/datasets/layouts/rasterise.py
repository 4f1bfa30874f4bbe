"""Draws annotated shapes as a mask, or reads a painting of them.

Coordinates count from the image's top left corner, so that the first pixel's centre is (0.5, 0.5). A pixel belongs to
a shape if its centre lies within; a centre on the very edge belongs to the shape on its right or below.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, hypot, isfinite, radians, sin
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from segcli.errors import FileProblem
from segcli.io.images import Mask, colour_values, decode, read_whole

Bits = NDArray[np.bool_]
Patch = tuple[slice, slice, Bits]
"""Rows and columns of an image, and which of their pixels are meant."""
Points = Sequence[Sequence[float]]


class Shape(Protocol):
    """A region of an image."""

    def patch(self, height: int, width: int) -> Patch:
        """Which pixels of an image of this size it covers."""


@dataclass(frozen=True)
class Polygon:
    """Closed paths, filled by even-odd: a path within another one is a hole."""

    paths: tuple[bytes, ...]  # x and y of their points in turn, as float64: a quarter of what Python's floats take

    @classmethod
    def of(cls, *paths: Points) -> Self:
        """A polygon of paths of (x, y); raises ValueError where they hold anything else."""
        arrays = [np.asarray(path, np.float64) for path in paths if len(path)]
        for array in arrays:
            if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
                raise ValueError("a path does not consist of two numbers a point")
        return cls(tuple(array.tobytes() for array in arrays))

    def patch(self, height: int, width: int) -> Patch:
        """Fills the paths."""
        starts = [np.frombuffer(path).reshape(-1, 2) for path in self.paths]
        if not starts:
            return slice(0), slice(0), np.zeros((0, 0), bool)
        ends = [np.roll(path, -1, axis=0) for path in starts]
        return _fill(np.concatenate(starts), np.concatenate(ends), height, width)


@dataclass(frozen=True)
class Ellipse:
    """An ellipse about (x, y), which is turned about its centre."""

    x: float
    y: float
    radius_x: float  # half its width, before it is turned
    radius_y: float
    angle: float = 0  # degrees, clockwise as y points down

    def __post_init__(self) -> None:
        if not all(isfinite(value) for value in (self.x, self.y, self.radius_x, self.radius_y, self.angle)):
            raise ValueError("an ellipse has a coordinate that is no number")

    def patch(self, height: int, width: int) -> Patch:
        """The pixels whose centres lie within."""
        reach = max(abs(self.radius_x), abs(self.radius_y))
        rows, columns = _window(self.x - reach, self.y - reach, self.x + reach, self.y + reach, height, width)
        y = np.arange(rows.start, rows.stop)[:, None] + 0.5 - self.y
        x = np.arange(columns.start, columns.stop) + 0.5 - self.x
        cosine, sine = cos(radians(self.angle)), sin(radians(self.angle))
        along, across = x * cosine + y * sine, y * cosine - x * sine
        inside = (along * self.radius_y) ** 2 + (across * self.radius_x) ** 2 < (self.radius_x * self.radius_y) ** 2
        return rows, columns, inside


@dataclass(frozen=True)
class Runs:
    """A bitmap, as the lengths of its runs outside and inside in turn."""

    counts: bytes  # the lengths as uint32, the first of which is outside
    left: int  # column of its first pixel
    top: int
    width: int
    height: int
    by_columns: bool = False  # runs go down, column by column, instead of along the rows

    @classmethod
    def of(
        cls, counts: Sequence[int], width: int, height: int, left: int = 0, top: int = 0, by_columns: bool = False
    ) -> Self:
        """A bitmap of run lengths; raises ValueError where they do not add up to its pixels."""
        lengths = np.asarray(counts, np.int64)
        if lengths.min(initial=0) < 0 or lengths.sum() != width * height:
            raise ValueError(f"the run lengths do not add up to {width}×{height} pixels")
        return cls(lengths.astype(np.uint32).tobytes(), left, top, width, height, by_columns)

    @classmethod
    def of_bits(cls, bits: Bits, left: int = 0, top: int = 0) -> Self:
        """The bitmap of pixels (H×W) that are there already."""
        flat = np.concatenate([[False], bits.ravel()])
        changes = np.flatnonzero(flat[1:] != flat[:-1])
        return cls.of(np.diff([0, *changes, bits.size]).tolist(), bits.shape[1], bits.shape[0], left, top)

    def patch(self, height: int, width: int) -> Patch:
        """The part of the bitmap that lies on the image."""
        lengths = np.frombuffer(self.counts, np.uint32)
        flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
        bits = flat.reshape(self.width, self.height).T if self.by_columns else flat.reshape(self.height, self.width)
        right, bottom = self.left + self.width, self.top + self.height
        rows, columns = _window(self.left, self.top, right, bottom, height, width)
        own_rows = slice(rows.start - self.top, rows.stop - self.top)
        return rows, columns, bits[own_rows, columns.start - self.left : columns.stop - self.left]


def run_lengths(compressed: str) -> list[int]:
    """Unpacks the run lengths of a compressed RLE.

    A character holds 5 bits, the lowest first, and a sixth that says that more follow; from the fourth length on, the
    difference to the one two before is meant. Source: rleFrString in maskApi.c of the COCO API.

    Raises:
        ValueError: if these are no such characters.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in compressed.encode():
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError(f"an RLE holds {chr(character)!r}")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits >> 4 & 1) << shift  # the sign
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("an RLE ends within a number")
    return lengths


def rectangle(left: float, top: float, right: float, bottom: float, angle: float = 0) -> Polygon:
    """A rectangle, turned about its centre by degrees, clockwise as y points down."""
    centre, reach = ((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, (bottom - top) / 2)
    return _turned_box(*centre, *reach, cos(radians(angle)), sin(radians(angle)))


def stroke(points: Points, width: float = 2) -> tuple[Polygon, ...]:
    """An open line of a width, in pieces: a rectangle a segment, half the width longer at both ends."""
    pieces = []
    for (x, y), (u, v) in pairwise(points):
        length = hypot(u - x, v - y)
        cosine, sine = ((u - x) / length, (v - y) / length) if length else (1.0, 0.0)
        pieces.append(_turned_box((x + u) / 2, (y + v) / 2, (length + width) / 2, width / 2, cosine, sine))
    return tuple(pieces)


def _turned_box(x: float, y: float, along: float, across: float, cosine: float, sine: float) -> Polygon:
    """A rectangle by its centre, half its sides, and the direction of the first."""
    corners = [(-along, -across), (along, -across), (along, across), (-along, across)]
    return Polygon.of([(x + u * cosine - v * sine, y + u * sine + v * cosine) for u, v in corners])


@dataclass(frozen=True)
class DrawnObject:
    """An annotated object: shapes that cover it together, or a segment of a painting."""

    shapes: tuple[Shape, ...]
    value: int  # its class index, or the ignore index
    instance: int = 0  # its number from 1; 0 where it is no single object
    segment: int = 0  # its number in the painting


@dataclass(frozen=True)
class DrawnMask:
    """A mask drawn from an annotation file; the values are class indices."""

    path: Path  # the annotation file
    image: str  # what it calls the image
    size: tuple[int, int] | None  # height and width that it states
    objects: tuple[DrawnObject, ...]  # in drawing order, later ones over earlier ones
    ground: int = 0  # the value where nothing is drawn

    def values(self, height: int, width: int) -> Mask:
        """Draws class indices: H×W, uint8 where they fit, else int32.

        Raises:
            FileProblem: if the annotation states another size.
        """
        return self._draw(np.full((height, width), self.ground, _dtype(self)), lambda drawn: drawn.value)

    def instances(self, height: int, width: int) -> Mask | None:
        """Draws the numbers of the objects: H×W uint16, 0 where there is none; raises as `values` does."""
        return self._draw(np.zeros((height, width), np.uint16), lambda drawn: drawn.instance)

    def _draw(self, mask: Mask, value: Callable[[DrawnObject], int]) -> Mask:
        height, width = mask.shape
        if self.size is not None and self.size != (height, width):
            raise FileProblem(
                f"{self.path} says that {self.image} is {self.size[1]}×{self.size[0]}, but it is {width}×{height} "
                f"(width×height); give the image that was annotated",
                "size-mismatch",
            )
        for drawn in self.objects:
            for shape in drawn.shapes:
                rows, columns, inside = shape.patch(height, width)
                mask[rows, columns][inside] = value(drawn)
        return mask


@dataclass(frozen=True)
class PaintedMask:
    """A mask whose colours are the numbers of segments: R + 256 G + 65536 B; the values are class indices."""

    path: Path  # the PNG file
    annotations: Path  # the file that lists the segments
    objects: tuple[DrawnObject, ...]
    ground: int  # the value where there is no segment

    def values(self, height: int, width: int) -> Mask:
        """Class indices as the file has them, whatever the image's size: H×W, uint8 where they fit, else int32.

        Raises:
            FileProblem: if the file cannot be read, or holds a segment that is not listed.
        """
        return self._mapped(self.ground, lambda drawn: drawn.value).astype(_dtype(self))

    def instances(self, height: int, width: int) -> Mask | None:
        """The objects, numbered from 1: H×W uint16; raises as `values` does."""
        return self._mapped(0, lambda drawn: drawn.instance).astype(np.uint16)

    def _mapped(self, ground: int, value: Callable[[DrawnObject], int]) -> Mask:
        colours = colour_values(decode(self.path, read_whole(self.path)).image)
        numbers = colours >> 16 | colours & 0xFF00 | (colours & 0xFF) << 16
        meanings = {0: ground, **{drawn.segment: value(drawn) for drawn in self.objects}}
        present, place = np.unique(numbers, return_inverse=True)
        for number in present.tolist():
            if number not in meanings:
                raise FileProblem(
                    f"{self.path} holds segment {number}, which {self.annotations} does not list; export both anew",
                    "mask-depth",
                )
        values: Mask = np.array([meanings[number] for number in present.tolist()])[place.reshape(numbers.shape)]
        return values


def _dtype(mask: DrawnMask | PaintedMask) -> type[np.uint8 | np.int32]:
    largest = max([mask.ground, *(drawn.value for drawn in mask.objects)])
    return np.uint8 if largest <= 255 else np.int32


def _window(left: float, top: float, right: float, bottom: float, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the image's part of a box."""
    rows = [int(min(max(value, 0), height)) for value in (np.floor(top), np.ceil(bottom))]
    columns = [int(min(max(value, 0), width)) for value in (np.floor(left), np.ceil(right))]
    return slice(*rows), slice(*columns)


def _fill(starts: NDArray[Any], ends: NDArray[Any], height: int, width: int) -> Patch:
    """Fills the area between edges (N×2 points each) by even-odd.

    Along a row of pixel centres, each crossing of an edge turns inside to outside or back.
    """
    (left, top), (right, bottom) = starts.min(axis=0), starts.max(axis=0)
    rows, columns = _window(left, top, right, bottom, height, width)
    num_rows, num_columns = rows.stop - rows.start, columns.stop - columns.start
    origin = np.array([columns.start, rows.start]) + 0.5  # the centre of the first pixel
    downward = (starts[:, 1] <= ends[:, 1])[:, None]
    upper, lower = np.where(downward, starts, ends) - origin, np.where(downward, ends, starts) - origin
    first = np.clip(np.ceil(upper[:, 1]), 0, num_rows).astype(int)
    spans = np.clip(np.ceil(lower[:, 1]), 0, num_rows).astype(int) - first
    edge = np.repeat(np.arange(len(spans)), spans)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(spans) - spans - first, spans)
    step = (lower - upper)[edge]
    x = upper[edge, 0] + (row - upper[edge, 1]) * step[:, 0] / step[:, 1]
    column = np.clip(np.ceil(x), 0, num_columns).astype(int)
    crossings = np.zeros((num_rows, num_columns + 1), np.uint8)
    np.bitwise_xor.at(crossings, (row, column), np.uint8(1))
    inside = np.bitwise_xor.accumulate(crossings[:, :num_columns], axis=1)
    return rows, columns, inside.astype(bool)
