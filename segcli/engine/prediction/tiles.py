"""Images in tiles that overlap: where the tiles lie, how much each counts where, and the predictor that blends them.

A tile's logits count most at its middle and not at all in a margin at its inner edges, where the network does not see
what lies beyond. Along each axis the weights of all tiles add up to 1 at every pixel, those at the image's border
included; and the weight of a pixel is the product of both axes', so that nothing is left to divide by.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcli.engine.arrays import Logits, operations
from segcli.engine.prediction.predictor import Predictor, Wrapper, each_batch
from segcli.engine.prediction.resizing import Resizing
from segcli.errors import UsageError
from segcli.io.images import Pixels

SURELY_FITS = 1 << 22
"""Pixels of an image that any machine computes whole."""

Read = Callable[["Span", "Span"], Pixels]
"""Reads the tile (h×w×3) of a span of rows and one of columns."""

_STEP = 32  # tiles begin at its multiples, where networks that halve five times would halve a whole image too
_SIGMA = 1 / 8  # of a tile's side
_BYTES_A_PIXEL = 2048  # that a network takes on its way, beside the logits: what a Unet++ on a resnet50 needs
_BYTES_A_PIXEL_IN_TILES = 64  # that an image, its labels and a picture of both take
_SHARE = 0.5  # of the free memory that an image may take


class Span(NamedTuple):
    """A tile's place along one axis, in pixels.

    Attributes:
        start: the first pixel that the network sees.
        stop: behind the last.
        first: the first pixel that counts.
        weights: of the pixels that count; those of all spans add up to 1 at each pixel.
    """

    start: int
    stop: int
    first: int
    weights: NDArray[np.float32]

    @property
    def last(self) -> int:
        """Behind the last pixel that counts."""
        return self.first + len(self.weights)

    @property
    def counting(self) -> slice:
        """The pixels that count, in the tile's own places."""
        return slice(self.first - self.start, self.last - self.start)


@dataclass(frozen=True)
class Tiling:
    """How images are cut into tiles.

    Attributes:
        height: of a tile.
        width: of a tile.
        overlap: the share (0 … 0.75) of a side that neighbours have in common at least. A quarter of it at each inner
            edge does not count: what a network makes of a pixel by no more than that far around it comes out as if the
            image had been computed whole.
        step: tiles begin at its multiples.
    """

    height: int = 512
    width: int = 512
    overlap: float = 0.25
    step: int = _STEP

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 0.75:
            raise UsageError(f"an overlap of {self.overlap:g} is none of 0 … 0.75, a share of the tile's side")
        shortest = min(self.height, self.width)
        if shortest - round(shortest * self.overlap) < self.step:
            least = int(self.step / (1 - self.overlap)) + 1
            raise UsageError(
                f"tiles of {self.height}×{self.width} with an overlap of {self.overlap:g} are too small; "
                f"their sides must be {least} at least"
            )

    def rows(self, height: int) -> list[Span]:
        """The rows of tiles of an image."""
        return _spans(height, self.height, round(self.height * self.overlap), self.step)

    def columns(self, width: int) -> list[Span]:
        """The columns of tiles of an image."""
        return _spans(width, self.width, round(self.width * self.overlap), self.step)

    @classmethod
    def parse(cls, text: str, overlap: float) -> "Tiling":
        """Reads `512` or `384x512` (height and width).

        Raises:
            UsageError: if it is neither.
        """
        sides = text.lower().split("x")
        if len(sides) > 2 or not all(side.isdecimal() for side in sides):
            raise UsageError(f"tiles {text}: expected auto, whole, a side such as 512, or HEIGHTxWIDTH")
        return cls(int(sides[0]), int(sides[-1]), overlap)


def _spans(length: int, tile: int, overlap: int, step: int) -> list[Span]:
    """Tiles evenly over a length, each beginning at a multiple of the step; the last may be shorter by less than it.

    Gaussian weights as in Isensee et al., "nnU-Net", Nature Methods 2021: the deviation is an eighth of the side.
    """
    stride = (tile - overlap) // step * step
    number = 1 + max(-(-(length - tile) // stride), 0)
    room = max(length - tile, 0)
    starts = [-(-room * place // (max(number - 1, 1) * step)) * step for place in range(number)]
    stops = [min(start + tile, length) for start in starts]
    firsts = [start + overlap // 4 if start else 0 for start in starts]
    lasts = [stop - overlap // 4 if stop < length else length for stop in stops]
    weights = [
        np.exp(-0.5 * ((np.arange(first, last) - (start + (tile - 1) / 2)) / (_SIGMA * tile)) ** 2)
        for start, first, last in zip(starts, firsts, lasts, strict=True)
    ]
    total = np.zeros(length)
    for first, last, values in zip(firsts, lasts, weights, strict=True):
        total[first:last] += values
    return [
        Span(start, stop, first, (values / total[first:last]).astype(np.float32))
        for start, stop, first, last, values in zip(starts, stops, firsts, lasts, weights, strict=True)
    ]


class Piece(NamedTuple):
    """Logits that no other tile changes any more.

    Attributes:
        top: the row in the image of its first row.
        left: likewise the column.
        logits: 1×C×h×w.
    """

    top: int
    left: int
    logits: Logits


def blended(predictor: Predictor, read: Read, rows: Sequence[Span], columns: Sequence[Span]) -> Iterator[Piece]:
    """Computes an image tile by tile and gives its logits piece by piece, from left to right in bands from the top.

    At any time there are a few tiles, and of the logits that another row of tiles will add to a band as wide as the
    image and as high as what they have in common.

    Args:
        predictor: takes tiles of any size.
        read: gives the pixels of a tile.
        rows: the rows of tiles.
        columns: the columns of tiles.
    """
    band: Logits = None
    ends = [*(span.first for span in rows[1:]), rows[-1].last]
    for row, end, before in zip(rows, ends, [rows[0].first, *(span.last for span in rows)], strict=False):
        common = before - row.first
        for left, strip in _blended_row(predictor, read, row, columns):
            ops, across = operations(strip), slice(left, left + strip.shape[3])
            if band is None:
                highest = max(span.last - end for span, end in zip(rows, ends, strict=True))
                band = ops.zeros((1, strip.shape[1], highest, columns[-1].last), strip)
            if common:
                strip[:, :, :common] += band[:, :, :common, across]
            finished = strip[:, :, : end - row.first]
            band[:, :, : row.last - end, across] = strip[:, :, end - row.first :]
            yield Piece(row.first, left, finished)


def _blended_row(predictor: Predictor, read: Read, row: Span, columns: Sequence[Span]) -> Iterator[tuple[int, Logits]]:
    """The logits of a row of tiles, weighted in both directions and added up across: strips from left to right."""
    begun: Logits = None
    ends = [*(span.first for span in columns[1:]), columns[-1].last]
    for (column, end), logits in zip(
        zip(columns, ends, strict=True), _tiles(predictor, read, row, columns), strict=True
    ):
        weights = row.weights[:, None] * column.weights
        strip = logits[:, :, row.counting, column.counting] * operations(logits).beside(weights, logits)
        if begun is not None:
            strip[..., : begun.shape[3]] += begun
        begun = strip[..., end - column.first :]
        yield column.first, strip[..., : end - column.first]


def _tiles(predictor: Predictor, read: Read, row: Span, columns: Sequence[Span]) -> Iterator[Logits]:
    """The logits of each tile of a row, as many of equal width computed together as suits the predictor."""
    groups: list[list[Span]] = []
    for column in columns:
        width = column.stop - column.start
        if groups and len(groups[-1]) < predictor.batch_size and groups[-1][0].stop - groups[-1][0].start == width:
            groups[-1].append(column)
        else:
            groups.append([column])
    batches = ((group, np.stack([read(row, column) for column in group])) for group in groups)
    for group, logits in each_batch(predictor, batches):
        for place in range(len(group)):
            yield logits[place : place + 1]


@dataclass(frozen=True)
class Tiled(Wrapper):
    """A predictor that shows another one an image in tiles, and blends their logits.

    Attributes:
        tiling: the tiles.
        always: also cut images that would fit into memory whole.
    """

    tiling: Tiling
    always: bool = True

    @property
    def concurrency(self) -> int:
        """One: tiles are computed side by side already."""
        return 1

    def __call__(self, images: Pixels) -> Logits:
        """Computes the logits, at the size of the images."""
        height, width = images.shape[1:3]
        if not self.always and fits(self.inner, height, width):
            return self.inner(images)
        rows, columns = self.tiling.rows(height), self.tiling.columns(width)
        whole: Logits = None
        for place, image in enumerate(images):
            for piece in blended(self.inner, _reading(image), rows, columns):
                part = piece.logits
                if whole is None:
                    whole = operations(part).zeros((len(images), part.shape[1], height, width), part)
                _, _, down, right = part.shape
                whole[place, :, piece.top : piece.top + down, piece.left : piece.left + right] = part[0]
        return whole


def _reading(image: Pixels) -> Read:
    return lambda row, column: image[row.start : row.stop, column.start : column.stop]


def fits(predictor: Predictor, height: int, width: int, number: int = 1) -> bool:
    """Whether a number of images of a height and width can be computed whole in half of the memory that is free."""
    return height * width <= SURELY_FITS or _has_room(predictor, number * height * width, _BYTES_A_PIXEL)


def fits_in_tiles(predictor: Predictor, num_pixels: int) -> bool:
    """Whether an image of some pixels can be computed in tiles that are put together, and drawn, in as much."""
    return _has_room(predictor, num_pixels, _BYTES_A_PIXEL_IN_TILES)


def _has_room(predictor: Predictor, num_pixels: int, each: int) -> bool:
    """Whether pixels of some bytes each, and their logits, have room where the model computes.

    What tells where that is, and so how much is free there, are the logits of a few pixels.
    """
    if num_pixels <= SURELY_FITS:
        return True
    logits = predictor(np.zeros((1, 64, 64, 3), np.uint8))
    needed = num_pixels * (each + 3 * 4 * logits.shape[1])
    return bool(needed <= _SHARE * operations(logits).free_memory(logits))


def with_tiles(predictor: Predictor, tiling: Tiling, always: bool = True) -> Predictor:
    """The predictor with tiles inside its resizing: they are cut from what the network would see whole.

    Args:
        predictor: the model, with or without views to average; those are views of each tile.
        tiling: the tiles.
        always: also cut images that would fit into memory whole.
    """
    if isinstance(predictor, Resizing):
        return Resizing(Tiled(predictor.inner, tiling, always), predictor.inference)
    return Tiled(predictor, tiling, always)
