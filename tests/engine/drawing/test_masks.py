from pathlib import Path

import numpy as np
import torch
from conftest import draw_pair
from PIL import Image

from segcli.engine.drawing.legend import Key, Ramp, class_keys, draw_legend, text_scale
from segcli.engine.drawing.masks import colour_mask, draw_batch, overlay
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


def test_text_grows_with_the_picture_and_a_ramp_has_a_line_of_its_own() -> None:
    keys = [Key("car", (1, 2, 3))]
    small, large = np.zeros((360, 480, 3), np.uint8), np.zeros((1536, 2048, 3), np.uint8)
    assert text_scale(small) == 1
    assert text_scale(large) == 1536 / 480
    heights = [draw_legend(keys, 900, scale).shape[0] for scale in (1.0, 3.2)]
    assert 2.8 < heights[1] / heights[0] < 3.3
    for width in (192, 900):
        both = draw_legend([*keys, Ramp("confidence", ((0, 0, 0), (7, 8, 9), (250, 251, 252)))], width)
        assert both.shape[:2] > (heights[0] + 20, width - 1)
        assert (both == (7, 8, 9)).all(axis=2).sum() > 300
        assert (both[:, -2:] == 255).all()


def test_outlines_keep_off_the_edge_of_the_picture() -> None:
    image, mask = np.full((200, 200, 3), 100, np.uint8), np.ones((200, 200), np.uint8)
    plain = overlay(image, mask, TASK, alpha=0.5, legend=False)
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) == 1


def test_crops_stand_in_rows_above_their_masks(tmp_path: Path) -> None:
    items = [(torch.full((3, 200, 200), shade, dtype=torch.uint8), torch.ones(200, 200).byte()) for shade in range(7)]
    draw_batch(tmp_path / "crops.png", items, TASK)
    with Image.open(tmp_path / "crops.png") as opened:
        page = np.asarray(opened)
    assert 0.7 < page.shape[0] / page.shape[1] < 1.7
    for shade in range(7):
        rows, columns = np.nonzero((page == shade).all(axis=2))
        assert len(rows) >= 200 * 200
        assert page[rows[-1] + 10, columns[-1]].tolist() == [255, 0, 0]
