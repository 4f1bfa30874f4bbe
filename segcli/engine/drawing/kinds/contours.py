"""contours: the image with the outlines of the prediction in the classes' colours, over those of the truth in white."""

from segcli.engine.drawing.kinds.base import Drawing, Kind, Seen
from segcli.engine.drawing.legend import INK, PAPER, Key, class_keys
from segcli.engine.drawing.masks import draw_outlines, stroke
from segcli.engine.drawing.sizes import Size, image_at, mask_at


def draw(seen: Seen, size: Size) -> Drawing:
    """Draws them; white lines, seamed with dark, are seen where the prediction's do not cover them."""
    task, width = seen.task, stroke(size)
    picture = image_at(seen.image, size).copy()
    entries = class_keys(seen.prediction, task, background_painted=False)
    if seen.truth is not None:
        truth = mask_at(seen.truth, size, task)
        draw_outlines(picture, truth, task, width + 2, INK)
        draw_outlines(picture, truth, task, width, PAPER)
        entries.append(Key("truth", PAPER))
    draw_outlines(picture, mask_at(seen.prediction, size, task), task, width)
    return Drawing(picture, entries)


KIND = Kind("contours", "contours", draw)
