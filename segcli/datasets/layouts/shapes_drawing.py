"""Draws `shapes`, a small synthetic dataset that a segmentation network learns within a minute.

Discs, triangles and thin rings overlap on a patterned ground. All paints come from one
stock, so a pixel's colour says next to nothing about its class. Each kind of shape carries a fine pattern
of its own, the ground faint and broad ones: a network has to look at form and texture. Only
integer arithmetic is used, so the same (seed, index) gives the same pixels on every machine.
"""

from collections.abc import Callable
from math import isqrt

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Weights = NDArray[np.int64]
Vector = tuple[int, int]
Pattern = Callable[[Generator, int, int], Weights]

CLASSES = ("background", "disc", "triangle", "ring")
PALETTE = ((0, 0, 0), (230, 80, 60), (60, 140, 230), (250, 200, 60))
IGNORE_INDEX = 255

PAINTS = (
    (70, 100, 120), (60, 160, 150), (200, 170, 90), (205, 115, 85), (120, 90, 160), (70, 130, 190),
    (140, 180, 70), (190, 70, 80), (190, 185, 170), (200, 130, 150), (120, 90, 75), (130, 135, 140),
)  # fmt: skip
RING_STROKE = 3
SUBPIXEL_BITS = 4  # lengths that need it are counted in sixteenths of a pixel


def render(seed: int, index: int, size: int = 64) -> tuple[Pixels, Pixels]:
    """Draws sample `index` of the series `seed`.

    Returns:
        The image (size×size×3 uint8 RGB) and its mask (size×size uint8), which holds an index into
        `CLASSES` or, on the one-pixel contour round each shape, `IGNORE_INDEX`.
    """
    rng = np.random.default_rng([seed, index])
    ground, *paints = rng.permutation(PAINTS)
    image = _ground(rng, size, ground)
    mask = np.zeros((size, size), np.uint8)
    for paint, (centre, radius) in zip(paints, _places(rng, size), strict=False):
        label = int(rng.integers(1, len(CLASSES)))
        region = _region(rng, size, CLASSES[label], centre, radius)
        image[region > 0] = _filling(rng, size, CLASSES[label], paint)[region > 0]
        mask[cv2.dilate(region, np.ones((3, 3), np.uint8)) > 0] = IGNORE_INDEX
        mask[region > 0] = label
    noise = rng.integers(-8, 9, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), mask


def _places(rng: Generator, size: int) -> list[tuple[Vector, int]]:
    """Scatters centres and radii so that neighbours may overlap but none hides another."""
    places: list[tuple[Vector, int]] = []
    wanted = int(rng.integers(4, 7))
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
    """Whether two centres lie at least three quarters of their summed radii from each other."""
    return 16 * (dx * dx + dy * dy) >= 9 * reach * reach


def _region(rng: Generator, size: int, form: str, centre: Vector, radius: int) -> Pixels:
    """The pixels that one shape covers, as a mask of 0 and 255."""
    region = np.zeros((size, size), np.uint8)
    if form == "disc":
        cv2.circle(region, centre, radius * 7 // 8, 255, cv2.FILLED)
    elif form == "ring":
        cv2.circle(region, centre, radius, 255, RING_STROKE)
    else:
        points = np.array(_triangle(rng, radius), np.int32) + (np.array(centre, np.int32) << SUBPIXEL_BITS)
        cv2.fillPoly(region, [points], 255, shift=SUBPIXEL_BITS)
    return region


def _triangle(rng: Generator, radius: int) -> list[Vector]:
    x, y = _spoke(rng, radius * 9 // 8)
    u, v = x * 111 // 128, y * 111 // 128  # the sine of 120 degrees is nearly 111/128
    return [(x, y), (-x // 2 - v, u - y // 2), (v - x // 2, -u - y // 2)]


def _spoke(rng: Generator, radius: int) -> Vector:
    """A vector of the given length in any direction, in sixteenths of a pixel."""
    length = radius << SUBPIXEL_BITS
    x = int(rng.integers(-length, length + 1))
    y = isqrt(length * length - x * x)
    return (x, y) if rng.integers(2) else (x, -y)


def _ground(rng: Generator, size: int, paint: Weights) -> Pixels:
    patterns: tuple[Pattern, ...] = (_spots, _checker, _stripes, _gradient)
    pattern = patterns[rng.integers(len(patterns))]
    return _painted(rng, paint, pattern(rng, size, int(rng.integers(112, 224))), strength=16)


def _filling(rng: Generator, size: int, form: str, paint: Weights) -> Pixels:
    patterns: dict[str, Pattern]
    patterns = {"disc": _spots, "triangle": _stripes, "ring": _plain}
    weights = patterns[form](rng, size, int(rng.integers(40, 52)))
    return _painted(rng, paint, weights, strength=96 if form == "ring" else 72)


def _painted(rng: Generator, paint: Weights, weights: Weights, strength: int) -> Pixels:
    """Colours a pattern, weights of 0 to 256, in a darker and a lighter shade of one paint."""
    base = paint + rng.integers(-16, 17, 3)
    swing = rng.integers(strength * 3 // 4, strength * 5 // 4) * rng.choice((-1, 1))
    shades = base + (swing * (weights[..., None] - 128) >> 7)
    return np.asarray(np.clip(shades, 0, 255), np.uint8)


def _plain(rng: Generator, size: int, width: int) -> Weights:
    return np.full((size, size), 256)


def _gradient(rng: Generator, size: int, width: int) -> Weights:
    along, _ = _axes(rng, size)
    rise = along - along.min()
    return np.asarray(rise * 256 // rise.max())


def _stripes(rng: Generator, size: int, width: int) -> Weights:
    along, _ = _axes(rng, size)
    return along // width % 2 * 256


def _checker(rng: Generator, size: int, width: int) -> Weights:
    along, across = _axes(rng, size)
    return (along // width + across // width) % 2 * 256


def _spots(rng: Generator, size: int, width: int) -> Weights:
    patches = 16 * size // width
    coarse = rng.integers(0, 2, (patches, patches), np.uint8) * np.uint8(255)
    sheet = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR_EXACT)
    return np.asarray(sheet, np.int64)


def _axes(rng: Generator, size: int) -> tuple[Weights, Weights]:
    """Coordinates along and across a random direction, in sixteenths of a pixel."""
    cosine, sine = _spoke(rng, 1)
    y, x = np.mgrid[:size, :size]
    return cosine * x + sine * y, cosine * y - sine * x
