"""panel: image, truth, prediction and errors side by side."""

import numpy as np

from segcli.engine.drawing.kinds.base import Drawing, Kind, Seen
from segcli.engine.drawing.kinds.errors import error_keys, error_map, error_title
from segcli.engine.drawing.legend import class_keys, draw_title, text_scale
from segcli.engine.drawing.masks import GAP, beside_one_another, colour_mask, stack
from segcli.engine.drawing.sizes import Size, image_at, mask_at


def draw(seen: Seen, size: Size) -> Drawing:
    """Draws them with titles; without a truth, image and prediction only."""
    task, truth = seen.task, seen.truth
    columns = [
        ("image", image_at(seen.image, size)),
        ("prediction", colour_mask(mask_at(seen.prediction, size, task), task)),
    ]
    entries = class_keys(seen.prediction, task)
    if truth is not None:
        columns.insert(1, ("truth", colour_mask(mask_at(truth, size, task), task)))
        wrong = image_at(error_map(seen.image, truth, seen.prediction, task), size)
        columns.append((error_title(truth, seen.prediction, task), wrong))
        entries = class_keys(np.stack([truth, seen.prediction]), task)
        entries += [key for key in error_keys(truth, task) if key not in entries]
    scale = text_scale(beside_one_another([picture for _, picture in columns]))
    titled = [stack([draw_title(text, size[1], scale), picture], axis=0) for text, picture in columns]
    return Drawing(beside_one_another(titled, round(GAP * scale)), entries)


KIND = Kind("panel", "panels", draw, columns=4)
