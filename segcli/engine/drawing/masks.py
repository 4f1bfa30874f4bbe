"""Pictures of masks: in colours, blended over images, as outlines; and of training crops."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segcli.engine.drawing.legend import PAPER, class_keys, draw_legend, text_scale
from segcli.engine.drawing.sizes import drawn_size, image_at, mask_at
from segcli.io.images import Mask, Pixels, write_image
from segcli.task import IGNORED_COLOUR, Colour, Task

GAP = 6
_STROKE = 400  # pixels of the short side for each pixel that an outline is wide


def colour_mask(mask: Mask, task: Task) -> Pixels:
    """Paints a mask (H×W) in the task's colours (H×W×3)."""
    table = np.full((max(256, task.ignore_index + 1, task.num_classes), 3), IGNORED_COLOUR, np.uint8)
    table[: task.num_classes] = task.palette
    table[task.ignore_index] = IGNORED_COLOUR
    painted: Pixels = table[mask]
    return painted


def overlay(image: Pixels, mask: Mask, task: Task, alpha: float = 0.55, legend: bool = True) -> Pixels:
    """Blends a mask over its image, with outlines and a legend of the classes in it.

    Args:
        image: H×W×3 uint8 RGB.
        mask: H×W class indices.
        task: colours and names.
        alpha: share of the mask's colour, 0…1.
        legend: write the class names on a strip below.

    Returns:
        H'×W'×3 uint8, higher than the image by the legend; a small image is enlarged by a whole factor.
    """
    size = drawn_size(image.shape)
    blended = blend(image_at(image, size), mask_at(mask, size, task), task, alpha)
    if not legend:
        return blended
    keys = class_keys(mask, task, background_painted=False)
    return stack([blended, draw_legend(keys, blended.shape[1], text_scale(blended))], axis=0)


def blend(image: Pixels, mask: Mask, task: Task, alpha: float = 0.55) -> Pixels:
    """The mask (H×W) over the image (H×W×3), each class with an outline in its full colour."""
    # OpenCV works pixel by pixel; numpy would hold several copies of the image in eight bytes a channel.
    blended = np.asarray(cv2.addWeighted(image, 1 - alpha, colour_mask(mask, task), alpha, 0), np.uint8)
    if task.has_background:
        blended[mask == 0] = image[mask == 0]
    draw_outlines(blended, mask, task, stroke(mask.shape))
    return blended


def stroke(shape: tuple[int, ...]) -> int:
    """How many pixels wide an outline is in a picture of a shape (H, W, …)."""
    return max(round(min(shape[:2]) / _STROKE), 1)


def draw_outlines(picture: Pixels, mask: Mask, task: Task, width: int, colour: Colour | None = None) -> None:
    """Draws the edges of all classes into a picture, those of rare classes last; none along the picture's own edge.

    Args:
        picture: H×W×3, changed.
        mask: H×W class indices.
        task: colours; a background and ignored pixels have no outline.
        width: of the lines, in pixels.
        colour: of all lines instead of the classes' own.
    """
    beyond = width + 1
    around = cv2.copyMakeBorder(mask, beyond, beyond, beyond, beyond, cv2.BORDER_REPLICATE)
    indices, counts = np.unique(mask, return_counts=True)
    for index in indices[np.argsort(-counts, kind="stable")].tolist():
        if index == task.ignore_index or (index == 0 and task.has_background):
            continue
        found, _ = cv2.findContours((around == index).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        own = colour or task.palette[index]
        cv2.drawContours(picture, found, -1, own, width, cv2.LINE_AA, offset=(-beyond, -beyond))


def draw_batch(path: Path, items: Sequence[tuple[Any, Any]], task: Task) -> None:
    """Draws training crops, each above its mask, in rows that make the whole about square.

    Args:
        path: the picture.
        items: images 3×h×w uint8 and masks h×w, as tensors.
        task: colours and names.
    """
    cells = []
    for image, mask in items:
        pixels = image.permute(1, 2, 0).numpy()
        size = drawn_size(pixels.shape)
        painted = colour_mask(mask_at(mask.numpy(), size, task), task)
        cells.append(stack([image_at(pixels, size), blank(GAP // 2, size[1]), painted], axis=0))
    height, width = cells[0].shape[:2]
    columns = min(max(round((len(cells) * height / width) ** 0.5), 1), len(cells))
    cells += [blank(height, width)] * (-len(cells) % columns)
    rows = [beside_one_another(cells[first : first + columns]) for first in range(0, len(cells), columns)]
    page = stack([part for row in rows for part in (blank(GAP, row.shape[1]), row)][1:], axis=0)
    keys = class_keys(np.concatenate([mask.numpy().ravel() for _, mask in items]), task)
    write_image(path, stack([page, draw_legend(keys, page.shape[1], text_scale(cells[0]))], axis=0))


def beside_one_another(pictures: Sequence[Pixels], gap: int = GAP) -> Pixels:
    """Sets pictures of one height side by side, with paper between them."""
    return stack([part for picture in pictures for part in (blank(picture.shape[0], gap), picture)][1:], axis=1)


def below_one_another(pictures: Sequence[Pixels]) -> Pixels:
    """Sets pictures below one another, the narrower ones widened with paper."""
    width = max(picture.shape[1] for picture in pictures)
    widened = [stack([picture, blank(picture.shape[0], width - picture.shape[1])], axis=1) for picture in pictures]
    return stack(widened, axis=0)


def blank(height: int, width: int) -> Pixels:
    """Paper of a size."""
    return np.full((height, width, 3), PAPER, np.uint8)


def stack(parts: Sequence[Pixels], axis: int) -> Pixels:
    """Sets pictures below (axis 0) or beside (1) one another that fit."""
    return np.concatenate(parts, axis=axis)
