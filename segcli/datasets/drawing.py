"""Draw `shapes`, a small synthetic data set on which a segmentation network can be trained in half a minute.

Discs, squares, triangles and thin rings lie over one another on a patterned ground. Ground and
shapes take their paints and patterns from the same stock, so a pixel's colour tells next to nothing
about its class: a network has to look at form. Everything is drawn with integer arithmetic, so the
same (seed, index) gives the same pixels on every machine.
"""

from collections.abc import Callable
from math import isqrt

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Vector = tuple[int, int]
Paint = tuple[int, int, int]
Weights = NDArray[np.int64]
Pattern = Callable[[Generator, int, int], Weights]

CLASSES = ("background", "disc", "square", "triangle", "ring")
PALETTE = ((0, 0, 0), (230, 80, 60), (60, 140, 230), (250, 200, 60), (90, 200, 130))
IGNORE_INDEX = 255

PAINTS = (
    (70, 100, 120), (60, 160, 150), (200, 170, 90), (205, 115, 85), (120, 90, 160), (70, 130, 190),
    (140, 180, 70), (190, 70, 80), (190, 185, 170), (200, 130, 150), (120, 90, 75), (130, 135, 140),
)  # fmt: skip
SUBPIXEL_BITS = 4
RING_STROKE = 3


def render(seed: int, index: int, size: int = 96) -> tuple[Pixels, Pixels]:
    """Draw sample `index` of the series `seed`.

    Returns the image, uint8 RGB of shape (size, size, 3), and its mask, uint8 of shape (size, size),
    which holds an index into `CLASSES` or, on the one-pixel contour round each shape, `IGNORE_INDEX`.
    """
    patterns = (_clouds, _checker, _stripes, _gradient)
    rng = np.random.default_rng([seed, index])
    paints = rng.permutation(len(PAINTS))
    image = _painted(rng, size, PAINTS[paints[0]], patterns[rng.integers(4)], int(rng.integers(112, 224)))
    mask = np.zeros((size, size), np.uint8)
    for paint, (centre, radius) in zip(paints[1:], _places(rng, size), strict=False):
        label = int(rng.integers(1, len(CLASSES)))
        region = _region(rng, size, label, centre, radius)
        cv2.copyTo(_painted(rng, size, PAINTS[paint], patterns[label - 1], int(rng.integers(40, 52))), region, image)
        mask[cv2.dilate(region, np.ones((3, 3), np.uint8)) > 0] = IGNORE_INDEX
        mask[region > 0] = label
    return _photographed(rng, image), mask


def _places(rng: Generator, size: int) -> list[tuple[Vector, int]]:
    """Scatter centres and radii so that neighbours may overlap but none hides another."""
    places: list[tuple[Vector, int]] = []
    wanted = int(rng.integers(3, 6))
    for _ in range(10 * wanted):
        radius = int(rng.integers(size // 7, size // 4 + 1))
        margin = radius * 3 // 4
        x, y = (int(v) for v in rng.integers(margin, size - margin, 2))
        if all(_apart(x - u, y - v, radius + other) for (u, v), other in places):
            places.append(((x, y), radius))
        if len(places) == wanted:
            break
    return places


def _apart(dx: int, dy: int, reach: int) -> bool:
    """Whether two shapes whose radii sum to `reach` overlap by a quarter of that at most."""
    return 16 * (dx * dx + dy * dy) >= 9 * reach * reach


def _region(rng: Generator, size: int, label: int, centre: Vector, radius: int) -> Pixels:
    """The pixels that one shape covers, as a mask of 0 and 255."""
    region = np.zeros((size, size), np.uint8)
    match CLASSES[label]:
        case "disc":
            cv2.circle(region, centre, radius * 7 // 8, 255, cv2.FILLED)
        case "ring":
            cv2.circle(region, centre, radius, 255, RING_STROKE)
        case form:
            corners = _square(rng, radius) if form == "square" else _triangle(rng, radius)
            points = np.array(corners, np.int32) + (np.array(centre, np.int32) << SUBPIXEL_BITS)
            cv2.fillPoly(region, [points], 255, shift=SUBPIXEL_BITS)
    return region


def _square(rng: Generator, radius: int) -> list[Vector]:
    x, y = _spoke(rng, radius)
    return [(x, y), (-y, x), (-x, -y), (y, -x)]


def _triangle(rng: Generator, radius: int) -> list[Vector]:
    x, y = _spoke(rng, radius * 9 // 8)
    u, v = x * 111 // 128, y * 111 // 128  # sin 120 degrees is nearly 111/128
    return [(x, y), (-x // 2 - v, u - y // 2), (v - x // 2, -u - y // 2)]


def _spoke(rng: Generator, radius: int) -> Vector:
    """A vector from centre to corner, in sub-pixel units, that points anywhere in a quarter turn or its opposite."""
    length = radius << SUBPIXEL_BITS
    x = int(rng.integers(0, length + 1))
    y = isqrt(length * length - x * x)
    return (x, y) if rng.integers(2) else (-x, -y)


def _painted(rng: Generator, size: int, paint: Paint, pattern: Pattern, width: int) -> Pixels:
    """A sheet covered by a pattern in two shades of one paint, `width` sixteenths of a pixel a patch."""
    weight = pattern(rng, size, width)[..., None]
    base = np.array(paint) + rng.integers(-16, 17, 3)
    swing = rng.integers(36, 60) * (2 * rng.integers(2) - 1)
    return np.clip(base + (swing * (weight - 128) >> 7), 0, 255).astype(np.uint8)


def _gradient(rng: Generator, size: int, width: int) -> Weights:
    along, _ = _axes(rng, size)
    along = along - along.min()
    return along * 256 // along.max()


def _stripes(rng: Generator, size: int, width: int) -> Weights:
    along, _ = _axes(rng, size)
    return along // width % 2 * 256


def _checker(rng: Generator, size: int, width: int) -> Weights:
    along, across = _axes(rng, size)
    return (along // width + across // width) % 2 * 256


def _clouds(rng: Generator, size: int, width: int) -> Weights:
    patches = 16 * size // width
    coarse = rng.integers(0, 256, (patches, patches), np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR_EXACT).astype(np.int64)


def _axes(rng: Generator, size: int) -> tuple[Weights, Weights]:
    """Coordinates along and across a random direction, in sixteenths of a pixel."""
    cosine, sine = _spoke(rng, 1)
    y, x = np.mgrid[:size, :size]
    return cosine * x + sine * y, cosine * y - sine * x


def _photographed(rng: Generator, image: Pixels) -> Pixels:
    """The drawing as a camera would see it: slightly soft and noisy."""
    soft = image
    noise = rng.integers(-12, 13, image.shape, np.int16)
    return np.clip(soft + noise, 0, 255).astype(np.uint8)
