import numpy as np
import pytest

from segcli.engine.drawing.sizes import drawn_size, image_at, mask_at, size_within
from segcli.task import Task

TASK = Task.of(["background", "a", "b"], [(0, 0, 0), (255, 0, 0), (0, 0, 255)])


def lines() -> np.ndarray:
    """A large mask of class 1 with lines of class 2 that are a pixel wide, and a pixel of background and of ignored."""
    mask = np.ones((1200, 1600), np.uint8)
    mask[:, 500] = mask[700, :] = 2
    np.fill_diagonal(mask[:1200, 300:], 2)
    mask[100, 100], mask[100, 1500] = 0, 255
    return mask


@pytest.mark.parametrize("size", [(240, 320), (173, 230), (60, 80)])
def test_a_line_a_pixel_wide_is_seen_all_along_in_a_shrunk_mask(size: tuple[int, int]) -> None:
    mask, factor = lines(), 1200 / size[0]
    shown = mask_at(mask, size, TASK)
    assert set(np.unique(shown)) == {1, 2}
    for row, column in np.argwhere(mask == 2):
        y, x = min(int(row / factor), size[0] - 1), min(int(column / factor), size[1] - 1)
        assert (shown[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] == 2).any()
    assert (shown == 2).mean() < 3 / size[0] + 3 / size[1] + 3 / size[1]


def test_what_is_not_thin_keeps_its_share_and_the_rarer_of_two_lines_wins() -> None:
    mask = np.zeros((400, 400), np.uint8)
    mask[:200], mask[300:, :100] = 1, 2
    assert np.array_equal(mask_at(mask, (100, 100), TASK), mask[::4, ::4])
    crossing = np.zeros((400, 400), np.uint8)
    crossing[200], crossing[100:300, 200] = 1, 2
    assert mask_at(crossing, (50, 50), TASK)[25, 25] == 2


def test_small_pictures_are_repeated_and_sizes_keep_proportions() -> None:
    mask = np.array([[0, 300], [2, 1]], np.uint16)
    assert mask_at(mask, (4, 4), TASK).tolist() == mask.repeat(2, 0).repeat(2, 1).tolist()
    assert image_at(np.dstack([mask] * 3).astype(np.uint8), (4, 4)).shape == (4, 4, 3)
    assert drawn_size((40, 56)) == (200, 280)
    assert drawn_size((1536, 2048, 3)) == (1536, 2048)
    assert size_within((1536, 2048), (240, 240)) == (180, 240)
