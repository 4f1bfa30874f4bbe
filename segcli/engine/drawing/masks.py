"""Pictures of masks: overlays, panels beside the truth, grids of training batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segcli.engine.drawing.legend import PAPER, Key, class_keys, draw_legend, draw_title
from segcli.io.images import Mask, Pixels, write_image
from segcli.task import IGNORED_COLOUR, Colour, Task

WRONG: Colour = (226, 36, 60)
MISSED: Colour = (255, 128, 0)
FALSE_ALARM: Colour = (0, 90, 181)
"""Orange and blue, which colour-blind eyes tell apart as well: where one class of two is missed or wrongly seen."""
_GAP = 6
_SMALLEST = 192


def colour_mask(mask: Mask, task: Task) -> Pixels:
    """Paints a mask (H×W) in the task's colours (H×W×3)."""
    table = np.full((max(256, task.ignore_index + 1, task.num_classes), 3), IGNORED_COLOUR, np.uint8)
    table[: task.num_classes] = task.palette
    table[task.ignore_index] = IGNORED_COLOUR
    painted: Pixels = table[mask]
    return painted


def overlay(image: Pixels, mask: Mask, task: Task, alpha: float = 0.55, legend: bool = True) -> Pixels:
    """Blends a mask over its image, with contours and a legend of the classes in it.

    Args:
        image: H×W×3 uint8 RGB.
        mask: H×W class indices.
        task: colours and names.
        alpha: share of the mask's colour, 0…1.
        legend: write the class names on a strip below.

    Returns:
        H'×W'×3 uint8, higher than the image by the legend; a small image is enlarged by a whole factor.
    """
    image, mask = _enlarged(image), _enlarged(mask)
    colours = colour_mask(mask, task)
    blended = np.round(image * (1 - alpha) + colours * alpha).astype(np.uint8)
    if task.has_background:
        blended[mask == 0] = image[mask == 0]
    blended = _with_contours(blended, mask, task)
    keys = class_keys(mask, task, background_painted=False)
    return _stack([blended, draw_legend(keys, blended.shape[1])], axis=0) if legend else blended


def _with_contours(picture: Pixels, mask: Mask, task: Task) -> Pixels:
    """Draws the edge of every class in its full colour, inside a thin light line."""
    picture = picture.copy()
    thickness = max(round(min(mask.shape) / 400), 1)
    for index in np.unique(mask):
        if index == task.ignore_index or (index == 0 and task.has_background):
            continue
        region = (mask == index).astype(np.uint8)
        contours, _ = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, task.palette[index], thickness, cv2.LINE_AA)
    return picture


def panel(image: Pixels, truth: Mask | None, prediction: Mask, task: Task) -> Pixels:
    """Sets image, truth, prediction and errors side by side, with titles and a legend.

    Args:
        image: H×W×3 uint8 RGB.
        truth: H×W class indices; None leaves out truth and errors.
        prediction: H×W class indices.
        task: colours and names.
    """
    image, prediction = _enlarged(image), _enlarged(prediction)
    truth = None if truth is None else _enlarged(truth)
    columns = [("image", image)]
    if truth is not None:
        columns.append(("truth", colour_mask(truth, task)))
    columns.append(("prediction", colour_mask(prediction, task)))
    if truth is not None:
        columns.append((_error_title(truth, prediction, task), errors(image, truth, prediction, task)))
    titled = [_stack([draw_title(text, picture.shape[1]), picture], axis=0) for text, picture in columns]
    row = _stack([part for picture in titled for part in (_blank(picture.shape[0], _GAP), picture)][1:], axis=1)
    shown = prediction if truth is None else np.concatenate([truth.ravel(), prediction.ravel()])
    keys = class_keys(shown, task) + ([] if truth is None else error_keys(task))
    return _stack([row, draw_legend(keys, row.shape[1])], axis=0)


def errors(image: Pixels, truth: Mask, prediction: Mask, task: Task) -> Pixels:
    """Marks wrong pixels on a pale grey image (H×W×3), as `error_keys` says; ignored pixels are light."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    picture = np.repeat((96 + grey * 0.6)[..., None], 3, axis=2).astype(np.uint8)
    valid = truth != task.ignore_index
    picture[~valid] = IGNORED_COLOUR
    wrong = valid & (truth != prediction)
    if task.num_classes == 2:
        picture[wrong & (truth == 1)] = MISSED
        picture[wrong & (truth == 0)] = FALSE_ALARM
    else:
        picture[wrong] = WRONG
    return picture


def error_keys(task: Task) -> list[Key]:
    """What the colours in a picture of errors mean: of two classes, misses of the second one and false alarms."""
    if task.num_classes == 2:
        name = task.classes[1]
        return [Key(f"missed {name}", MISSED), Key(f"false alarm of {name}", FALSE_ALARM)]
    return [Key("wrong", WRONG)]


def _error_title(truth: Mask, prediction: Mask, task: Task) -> str:
    valid = truth != task.ignore_index
    wrong = (truth != prediction)[valid].mean() if valid.any() else 0.0
    return f"errors: {wrong:.1%}"


def draw_batch(path: Path, items: Sequence[tuple[Any, Any]], task: Task) -> None:
    """Draws training crops, each above its mask.

    Args:
        path: the picture.
        items: images 3×h×w uint8 and masks h×w, as tensors.
        task: colours and names.
    """
    columns = []
    for image, mask in items:
        pixels = _enlarged(image.permute(1, 2, 0).numpy())
        painted = colour_mask(_enlarged(mask.numpy()), task)
        columns.append(_stack([pixels, _blank(_GAP, pixels.shape[1]), painted], axis=0))
        columns.append(_blank(columns[-1].shape[0], _GAP))
    row = _stack(columns[:-1], axis=1)
    present = np.concatenate([mask.numpy().ravel() for _, mask in items])
    write_image(path, _stack([row, draw_legend(class_keys(present, task), row.shape[1])], axis=0))


def _enlarged(pixels: Any) -> Any:
    """Repeats the pixels of a small picture, so that titles and legend have room beside it."""
    factor = max(round(_SMALLEST / min(pixels.shape[:2])), 1)
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else pixels


def _blank(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), PAPER, np.uint8)


def below_one_another(pictures: Sequence[Pixels]) -> Pixels:
    """Sets pictures below one another, the narrower ones widened with paper."""
    width = max(picture.shape[1] for picture in pictures)
    widened = [_stack([picture, _blank(picture.shape[0], width - picture.shape[1])], axis=1) for picture in pictures]
    return _stack(widened, axis=0)


def _stack(parts: Sequence[Pixels], axis: int) -> Pixels:
    return np.concatenate(parts, axis=axis)
