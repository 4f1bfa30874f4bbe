import cv2
import numpy as np
import pytest

from segcli.datasets.layouts.rasterise import Polygon
from segcli.engine.prediction.sinks.outlines import Region, outlines


def filled(regions: list[Region], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The mask that the regions give when filled, and how many of them cover each pixel."""
    mask, cover = np.full(shape, -1), np.zeros(shape, int)
    for region in regions:
        rows, columns, inside = Polygon.of(region.joined()).patch(*shape)
        mask[rows, columns][inside] = region.label
        cover[rows, columns] += inside
    return mask, cover


def blobs(seed: int, noisy: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 24, 2)
    mask = rng.integers(0, rng.integers(1, 5) + 1, (height, width)).astype(np.uint8)
    large = cv2.resize(mask, (int(width) * 3, int(height) * 3), interpolation=cv2.INTER_NEAREST)
    return mask if noisy else cv2.medianBlur(large, 5)


@pytest.mark.parametrize("noisy", [True, False])
def test_filling_exact_outlines_gives_the_mask_back(noisy: bool) -> None:
    for seed in range(12):
        mask = blobs(seed, noisy)
        back, cover = filled(outlines(mask), mask.shape)
        assert (back == mask).all()
        assert (cover == 1).all()


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 1.5])
def test_simple_outlines_neither_overlap_nor_leave_gaps(tolerance: float) -> None:
    for seed in range(8):
        mask = blobs(seed, noisy=False)
        back, cover = filled(outlines(mask, tolerance), mask.shape)
        assert (cover == 1).all()
        # Where the masks differ, a border is near: no pixel changes in the inside of a region.
        kernel = np.ones((2 * int(np.ceil(tolerance)) + 1,) * 2, np.uint8)
        inside = cv2.erode(mask, kernel) == cv2.dilate(mask, kernel)
        assert (back == mask)[inside].all()


def test_a_hole_is_one() -> None:
    mask = np.zeros((6, 7), np.uint8)
    mask[1:5, 1:6] = 1
    mask[2:4, 3] = 2
    ring = next(region for region in outlines(mask) if region.label == 1)
    assert ring.pixels == 18
    assert ring.box == (1, 1, 5, 4)
    (hole,) = ring.holes
    assert set(hole) == {(3, 2.5), (3, 3.5), (3.5, 4), (4, 3.5), (4, 2.5), (3.5, 2)}


def test_a_slanted_border_is_a_slanted_line() -> None:
    mask = np.tri(40, 40, dtype=np.uint8)
    assert {(1, 0.5), (39.5, 39)} <= set(outlines(mask)[0].outer)
    assert [len(region.outer) for region in outlines(mask)] == [7, 5]  # of 160 sides of pixels
