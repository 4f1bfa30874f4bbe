import numpy as np
from conftest import draw_pair

from segcli.engine.drawing.legend import Key, class_keys, draw_legend
from segcli.engine.drawing.masks import FALSE_ALARM, MISSED, colour_mask, error_keys, errors, overlay, panel
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


def test_two_classes_tell_misses_from_false_alarms() -> None:
    task = Task.of(["road", "hole"])
    image = np.full((1, 5, 3), 200, np.uint8)
    truth, prediction = np.array([[0, 1, 1, 0, 255]], np.uint8), np.array([[0, 1, 0, 1, 0]], np.uint8)
    picture = errors(image, truth, prediction, task)
    assert picture[0, 0].tolist() == picture[0, 1].tolist() == [216, 216, 216]
    assert [tuple(pixel) for pixel in picture[0, 2:]] == [MISSED, FALSE_ALARM, IGNORED_COLOUR]
    assert error_keys(task) == [("missed hole", MISSED), ("false alarm of hole", FALSE_ALARM)]


def test_class_0_is_painted_unless_it_is_a_background() -> None:
    image, mask = np.full((200, 200, 3), 100, np.uint8), np.zeros((200, 200), np.uint8)
    assert (overlay(image, mask, Task.of(["background", "a"]), legend=False) == 100).all()
    for task in (Task.of(["sky", "car", "tree"]), Task.of(["sky", "car"], [(0, 0, 0), (9, 9, 9)])):
        painted = overlay(image, mask, task, alpha=0.5, legend=False)[100, 100]
        assert painted.tolist() == [round((100 + channel) / 2) for channel in task.palette[0]]


def test_a_legend_has_each_class_that_occurs_and_says_what_is_not_painted() -> None:
    mask = np.array([0, 2, 2, 255])
    keys = class_keys(mask, TASK, background_painted=False)
    assert keys == [("background (not painted)", None), ("b", (0, 0, 255)), ("ignored", IGNORED_COLOUR)]
    assert class_keys(mask, TASK)[0] == ("background", (0, 0, 0))


def test_a_name_too_long_for_a_legend_goes_on_in_the_next_line() -> None:
    short, long = ([Key(name, (1, 2, 3))] for name in ("car", "chest of drawers, bureau, dresser, commode"))
    assert draw_legend(long, 192).shape[0] > draw_legend(short, 192).shape[0]
    assert draw_legend(long, 192).shape[1] == 192
    assert (draw_legend(long, 192)[:, -2:] == 255).all()  # nothing is cut off
