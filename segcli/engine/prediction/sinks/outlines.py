"""From a mask to polygons: outlines with holes, whose borders are the same line on both sides.

A region is a set of pixels of one class that touch along sides. Its outline runs through the middles of the pixels'
sides, so that a slanted border is a slanted line and not a stair, and through the corners where three regions or
parts of them meet. Between two such corners a border is one line, which is simplified once for both of its sides:
so regions that touch never overlap and leave nothing out. Coordinates are (x, y), from the image's top left corner.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from segcli.io.images import Mask

Point = tuple[float, float]
Ring = list[Point]
_Key = tuple[Point, ...]


@dataclass(frozen=True)
class Region:
    """A region of one class.

    Attributes:
        label: its class index, or the ignore index.
        outer: its outline, clockwise as y points down; not closed by its first point.
        holes: those of its holes, anticlockwise.
        pixels: how many it covers.
    """

    label: int
    outer: Ring
    holes: tuple[Ring, ...]
    pixels: int

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, width and height."""
        columns, rows = zip(*self.outer, strict=True)
        left, top = min(columns), min(rows)
        return left, top, max(columns) - left, max(rows) - top

    def joined(self) -> Ring:
        """One path that covers the same by even-odd: each hole is reached and left along one seam."""
        path = list(self.outer)
        for hole in self.holes:
            ring = np.array(hole)
            distances = ((np.array(path)[:, None] - ring[None]) ** 2).sum(-1)
            at, start = (int(place) for place in np.unravel_index(distances.argmin(), distances.shape))
            path[at : at + 1] = [path[at], *hole[start:], *hole[: start + 1], path[at]]
        return path


def outlines(labels: Mask, tolerance: float = 0.0) -> list[Region]:
    """The regions of a mask (H×W), from the top left one on.

    Args:
        labels: class indices.
        tolerance: pixels by which an outline may be off; at 0, filling the outlines gives the mask back.
    """
    parts = _components(labels)
    rings = _rings(parts)
    lines = _Lines(_corners(parts), tolerance)
    first = [ring[0] for ring in rings]
    cut = [lines.cut(ring) for ring in rings]
    lines.keep_apart(cut)
    outer: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = {}
    for edge, ring in zip(first, cut, strict=True):
        part = int(parts[edge[1], edge[0]])
        path = lines.joined(ring)
        if _area(lines.plain(ring)) > 0:
            outer[part] = path
        else:
            holes.setdefault(part, []).append(path)
    pixels = np.bincount(parts.ravel())
    places = np.unique(parts, return_index=True)[1]
    found = labels.ravel()[places]
    return [
        Region(int(found[part]), path, tuple(holes.get(part, ())), int(pixels[part])) for part, path in outer.items()
    ]


def _components(labels: Mask) -> NDArray[np.int32]:
    """The number of the region of each pixel, from 0 and in the order of their first pixels."""
    numbers = np.zeros(labels.shape, np.int32)
    count = 0
    for value in np.unique(labels):
        more, parts = cv2.connectedComponents((labels == value).astype(np.uint8), connectivity=4)
        numbers += np.where(parts > 0, parts + count, 0)
        count += more - 1
    _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int32)
    order[np.argsort(first)] = np.arange(len(first))
    return order[inverse].reshape(labels.shape)


_Edge = tuple[int, int, int]
"""Column and row of a pixel, and one of its sides: top 0, right 1, bottom 2, left 3; the pixel lies on the right."""

_ALONG = ((1, 0), (0, 1), (-1, 0), (0, -1))  # x and y that a walk along a side goes
_START = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))  # where it begins, from the pixel's top left corner


def _rings(parts: NDArray[np.int32]) -> list[list[_Edge]]:
    """The sides of pixels where regions end, in closed walks that have the region on the right."""
    height, width = parts.shape
    framed = np.pad(parts, 1, constant_values=-1)

    def shifted(x: int, y: int) -> NDArray[np.int32]:
        return framed[1 + y : 1 + y + height, 1 + x : 1 + x + width]

    ids, following = [], []
    rows, columns = np.indices(parts.shape, np.int64)
    for side, (x, y) in enumerate(_ALONG):
        outward = (y, -x)  # to the left of the walk
        ahead = shifted(x, y) == parts
        slanted = shifted(x + outward[0], y + outward[1]) == parts
        edges = shifted(*outward) != parts
        place = rows * width + columns
        turn_right = 4 * place + (side + 1) % 4
        straight = 4 * (place + y * width + x) + side
        turn_left = 4 * (place + (y + outward[1]) * width + x + outward[0]) + (side + 3) % 4
        after = np.where(ahead, np.where(slanted, turn_left, straight), turn_right)
        ids.append((4 * place + side)[edges])
        following.append(after[edges])
    known = np.concatenate(ids)
    order = np.argsort(known)
    known = known[order]
    follow = np.searchsorted(known, np.concatenate(following)[order]).tolist()
    numbers = known.tolist()
    seen = bytearray(len(numbers))
    rings = []
    for start in range(len(numbers)):
        ring, at = [], start
        while not seen[at]:
            seen[at] = 1
            place, side = divmod(numbers[at], 4)
            ring.append((place % width, place // width, side))
            at = follow[at]
        if ring:
            rings.append(ring)
    return rings


def _corners(parts: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Corners of pixels ((H+1)×(W+1)) that outlines must go through: where three borders meet, and the image's."""
    framed = np.pad(parts, 1, constant_values=-1)
    above, below = framed[:-1, :], framed[1:, :]
    meeting = (
        (above[:, :-1] != above[:, 1:]).astype(np.uint8)
        + (below[:, :-1] != below[:, 1:])
        + (above[:, :-1] != below[:, :-1])
        + (above[:, 1:] != below[:, 1:])
    )
    corners: NDArray[np.bool_] = meeting > 2
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return corners


class _Lines:
    """Borders between corners, simplified once for both sides.

    Args:
        corners: which corners of pixels are fixed.
        tolerance: pixels by which a line may be off.
    """

    def __init__(self, corners: NDArray[np.bool_], tolerance: float) -> None:
        self._corners = corners
        self._tolerance = tolerance
        self._exact: set[_Key] = set()

    def cut(self, ring: Sequence[_Edge]) -> list[Ring]:
        """The lines of a walk, each from corner to corner; one closed line where it meets none."""
        middles: Ring = []
        ends: list[Point | None] = []
        for x, y, side in ring:
            along, start = _ALONG[side], _START[side]
            middles.append((x + start[0] + along[0] / 2, y + start[1] + along[1] / 2))
            end = (x + start[0] + along[0], y + start[1] + along[1])
            ends.append(end if self._corners[int(end[1]), int(end[0])] else None)
        first = next((place for place, end in enumerate(ends) if end is not None), None)
        if first is None:
            return [middles]
        order = [*range(first + 1, len(ring)), *range(first + 1)]
        lines: list[Ring] = []
        line: Ring = [ends[first] or (0.0, 0.0)]
        for place in order:
            line.append(middles[place])
            end = ends[place]
            if end is not None:
                lines.append([*line, end])
                line = [end]
        return lines

    def keep_apart(self, rings: Sequence[Sequence[Ring]]) -> None:
        """Leaves as they are the lines of rings that would vanish, or come together, when they are simplified."""
        if self._tolerance > 0:
            for ring in rings:
                path = self.joined(ring)
                if len(path) < 3 or _area(path) * _area(self.plain(ring)) <= 0:
                    self._exact.update(_canonical(line)[0] for line in ring)

    def joined(self, ring: Sequence[Ring]) -> Ring:
        """The simplified lines of a walk as one closed path."""
        if len(ring) == 1 and ring[0][0] != ring[0][-1]:
            return self._simplified(ring[0])
        return [point for line in ring for point in self._simplified(line)[:-1]]

    def plain(self, ring: Sequence[Ring]) -> Ring:
        """The lines as one closed path, as they are."""
        return [point for line in ring for point in line]

    def _simplified(self, line: Ring) -> Ring:
        key, points, turned = _canonical(line)
        tolerance = 0.0 if key in self._exact else self._tolerance
        kept = _simplified_path(np.array(points, np.float32), tolerance, _is_closed_by_itself(line))
        simple = [(float(x), float(y)) for x, y in kept]
        return simple[::-1] if turned else simple


def _simplified_path(points: NDArray[np.float32], tolerance: float, closed: bool) -> NDArray[np.float32]:
    """The points (N×2) that Douglas and Peucker's method keeps; a loop at a corner is split at its farthest point."""
    if not closed and (points[0] == points[-1]).all():
        middle = int(((points - points[0]) ** 2).sum(1).argmax())
        halves = [_simplified_path(half, tolerance, False) for half in (points[: middle + 1], points[middle:])]
        return np.concatenate([halves[0], halves[1][1:]])
    kept: NDArray[np.float32] = cv2.approxPolyDP(points, tolerance, closed)[:, 0]
    return points if closed and len(kept) < 3 else kept


def _is_closed_by_itself(line: Ring) -> bool:
    """Whether it is a walk that meets no corner: its points are middles of sides alone."""
    x, y = line[0]
    return not (x.is_integer() and y.is_integer())


def _canonical(line: Ring) -> tuple[_Key, Ring, bool]:
    """A line in the one direction (and from the one start) that both sides agree on, and whether that turned it."""
    if _is_closed_by_itself(line):
        start = line.index(min(line))
        line = line[start:] + line[:start]
        turned = line[1] > line[-1]
        points = [line[0], *line[:0:-1]] if turned else line
        return tuple(points[:2]), points, turned
    turned = tuple(line[:2]) > tuple(line[:-3:-1])
    points = line[::-1] if turned else line
    return tuple(points[:2]), points, turned


def _area(path: Sequence[Point]) -> float:
    """Twice the area inside a closed path, positive where it goes clockwise as y points down."""
    points = np.array(path)
    x, y = points.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1))
