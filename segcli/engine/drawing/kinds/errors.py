"""errors: where the prediction is wrong, on a pale grey image."""

import cv2
import numpy as np

from segcli.engine.drawing.kinds.base import TRUTH, Drawing, Kind, Seen
from segcli.engine.drawing.legend import Key, draw_title, text_scale
from segcli.engine.drawing.masks import stack
from segcli.engine.drawing.sizes import Size, image_at
from segcli.io.images import Mask, Pixels
from segcli.task import IGNORED_COLOUR, Colour, Task

WRONG: Colour = (226, 36, 60)
MISSED: Colour = (255, 128, 0)
FALSE_ALARM: Colour = (0, 90, 181)
"""Orange and blue, which colour-blind eyes tell apart as well: where one class of two is missed or wrongly seen."""


def draw(seen: Seen, size: Size) -> Drawing:
    """Draws them below their share of the pixels; shrunk, they keep their share of every area."""
    assert seen.truth is not None
    picture = image_at(error_map(seen.image, seen.truth, seen.prediction, seen.task), size)
    title = draw_title(error_title(seen.truth, seen.prediction, seen.task), size[1], text_scale(picture))
    return Drawing(stack([title, picture], axis=0), error_keys(seen.truth, seen.task))


def error_map(image: Pixels, truth: Mask, prediction: Mask, task: Task) -> Pixels:
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


def error_keys(truth: Mask, task: Task) -> list[Key]:
    """What the colours of an error map mean: of two classes, misses of the second one and false alarms."""
    keys = [Key("wrong", WRONG)]
    if task.num_classes == 2:
        name = task.classes[1]
        keys = [Key(f"missed {name}", MISSED), Key(f"false alarm of {name}", FALSE_ALARM)]
    ignored = [Key("ignored", IGNORED_COLOUR)] if (truth == task.ignore_index).any() else []
    return [*keys, *ignored]


def error_title(truth: Mask, prediction: Mask, task: Task) -> str:
    """The share of wrong pixels, in words."""
    valid = truth != task.ignore_index
    wrong = (truth != prediction)[valid].mean() if valid.any() else 0.0
    return f"errors: {wrong:.1%}"


KIND = Kind("errors", "errors", draw, frozenset({TRUTH}))
