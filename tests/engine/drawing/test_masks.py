import numpy as np
from conftest import draw_pair

from segcli.engine.drawing.masks import colour_mask, errors, overlay, panel
from segcli.task import IGNORED_COLOUR, Task

TASK = Task.of(["background", "a", "b"], [(0, 0, 0), (255, 0, 0), (0, 0, 255)])


def test_masks_are_painted_in_the_tasks_colours() -> None:
    painted = colour_mask(np.array([[0, 1, 2, 255]], np.uint8), TASK)
    assert painted.tolist() == [[[0, 0, 0], [255, 0, 0], [0, 0, 255], list(IGNORED_COLOUR)]]


def test_an_overlay_blends_inside_and_leaves_a_black_background() -> None:
    image = np.full((200, 200, 3), 100, np.uint8)
    mask = np.zeros((200, 200), np.uint8)
    mask[10:30, 10:30] = 1
    picture = overlay(image, mask, TASK, alpha=0.5, legend=False)
    assert picture[20, 20].tolist() == [178, 50, 50]
    assert picture[2, 2].tolist() == [100, 100, 100]
    assert picture[10, 20, 0] > 230  # the contour is antialiased
    assert picture[10, 20, 1] < 20


def test_a_legend_stands_below() -> None:
    image, mask = draw_pair(0)
    assert overlay(image, mask, TASK).shape[0] > overlay(image, mask, TASK, legend=False).shape[0]
    assert overlay(image, mask, TASK).shape[1] == 5 * image.shape[1]  # a small image is enlarged


def test_errors_mark_wrong_pixels_only() -> None:
    image, truth = draw_pair(0)
    prediction = truth.copy()
    prediction[0, 0] = 2 if truth[0, 0] != 2 else 1
    truth[1, 1] = 255
    picture = errors(image, truth, prediction, TASK).astype(int)
    red = (picture[..., 0] - picture[..., 1]) > 100
    assert red.sum() == 1
    assert red[0, 0]
    assert picture[1, 1].tolist() == list(IGNORED_COLOUR)


def test_a_panel_has_four_columns_with_truth_and_two_without() -> None:
    image, mask = draw_pair(0)
    width = 5 * image.shape[1]
    assert panel(image, mask, mask, TASK).shape[1] == 4 * width + 3 * 6
    assert panel(image, None, mask, TASK).shape[1] == 2 * width + 6
