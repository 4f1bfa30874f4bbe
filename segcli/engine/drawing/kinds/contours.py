"""contours: outlines of the prediction in the classes' colours, and in white of the truth where it differs."""

import cv2
import numpy as np

from segcli.engine.drawing.kinds.base import Drawing, Kind, Seen
from segcli.engine.drawing.legend import INK, PAPER, Key, class_keys
from segcli.engine.drawing.masks import draw_outlines, stroke
from segcli.engine.drawing.sizes import Size, image_at, mask_at
from segcli.io.images import Mask, Pixels
from segcli.task import Task


def draw(seen: Seen, size: Size) -> Drawing:
    """Draws them on the image."""
    task, width = seen.task, stroke(size)
    picture, prediction = image_at(seen.image, size).copy(), mask_at(seen.prediction, size, task)
    entries = class_keys(seen.prediction, task, background_painted=False)
    if seen.truth is not None:
        _draw_truth(picture, mask_at(seen.truth, size, task), prediction, task, width)
        entries.append(Key("truth, where it differs", PAPER))
    draw_outlines(picture, prediction, task, width)
    return Drawing(picture, entries)


def _draw_truth(picture: Pixels, truth: Mask, prediction: Mask, task: Task, width: int) -> None:
    """Draws the truth's outlines in white, seamed with dark; none near the prediction's or around ignored pixels."""
    before = picture.copy()
    truth = np.where(truth == task.ignore_index, prediction, truth)
    draw_outlines(picture, truth, task, width + 2, INK)
    draw_outlines(picture, truth, task, width, PAPER)
    lines = np.zeros_like(picture)
    draw_outlines(lines, prediction, task, 1, PAPER)
    near = cv2.dilate(lines[..., 0], np.ones((6 * width + 1, 6 * width + 1), np.uint8)) > 0
    picture[near] = before[near]


KIND = Kind("contours", "contours", draw)
