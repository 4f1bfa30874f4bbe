"""Whether masks look alike when they are flipped or turned, so that images may be, too."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GRID = 8
"""Cells a side of the grid in which the places of classes are compared."""

_DRAWS = 999
_ALIKE = 0.05  # chance of as large a difference among alike masks, below which they are not taken for alike

Grids = NDArray[np.float64]


@dataclass(frozen=True)
class Orientation:
    """How likely masks that know no side would differ as much from their flipped selves as these do (p-values).

    Attributes:
        mirrored: left to right.
        upside_down: top to bottom.
        turned: by a quarter.
        images: that were asked.
    """

    mirrored: float
    upside_down: float
    turned: float
    images: int

    @property
    def knows_no_side(self) -> bool:
        """Whether the masks look alike under all flips and turns, as in pictures from above."""
        return min(self.mirrored, self.upside_down, self.turned) >= _ALIKE

    @property
    def may_be_turned_over(self) -> bool:
        """Whether the masks look alike from top to bottom."""
        return self.upside_down >= _ALIKE

    def to_json(self) -> dict[str, float]:
        """The figures as plain JSON values."""
        return {"mirrored": self.mirrored, "upside_down": self.upside_down, "turned": self.turned}


def orientation(grids: Grids) -> Orientation:
    """Tests by permutation whether the mean place of each class changes where images are flipped or turned.

    If a set knows no side, each image might as well have come flipped: the difference between the mean grid and its
    flipped self is compared with those of sets in which a coin decides for each image (Good 2005, chapter 3).

    Args:
        grids: N×C×GRID×GRID, each class's share of the pixels of each cell.
    """
    return Orientation(
        mirrored=_chance(grids, lambda grid: grid[..., ::-1]),
        upside_down=_chance(grids, lambda grid: grid[..., ::-1, :]),
        turned=_chance(grids, lambda grid: np.rot90(grid, axes=(-2, -1))),
        images=len(grids),
    )


def _chance(grids: Grids, change: Callable[[Grids], Grids]) -> float:
    """The p-value of the difference that a flip or turn makes."""
    differences = (grids - change(grids)).reshape(len(grids), -1)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_DRAWS, len(grids)))
    seen = np.abs(differences.mean(axis=0)).sum()
    drawn = np.abs(signs @ differences / len(grids)).sum(axis=1)
    return float((1 + (drawn >= seen).sum()) / (1 + _DRAWS))
