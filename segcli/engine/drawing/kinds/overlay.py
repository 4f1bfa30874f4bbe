"""overlay: the prediction blended over the image."""

from segcli.engine.drawing.kinds.base import Drawing, Kind, Seen
from segcli.engine.drawing.legend import class_keys
from segcli.engine.drawing.masks import blend
from segcli.engine.drawing.sizes import Size, image_at, mask_at


def draw(seen: Seen, size: Size) -> Drawing:
    """Draws it."""
    blended = blend(image_at(seen.image, size), mask_at(seen.prediction, size, seen.task), seen.task)
    return Drawing(blended, class_keys(seen.prediction, seen.task, background_painted=False))


KIND = Kind("overlay", "overlays", draw)
