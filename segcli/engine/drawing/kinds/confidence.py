"""confidence: how probable the predicted class is at every pixel, from dark (0) to light (1)."""

import cv2
import numpy as np

from segcli.engine.drawing.kinds.base import CONFIDENCE, Drawing, Kind, Seen
from segcli.engine.drawing.legend import Ramp, draw_title, text_scale
from segcli.engine.drawing.masks import stack
from segcli.engine.drawing.sizes import Size, image_at


def draw(seen: Seen, size: Size) -> Drawing:
    """Draws it below its mean, in colours whose lightness grows evenly (viridis)."""
    assert seen.confidence is not None
    values = np.arange(256, dtype=np.uint8)[:, None]
    colours = cv2.cvtColor(cv2.applyColorMap(values, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)[:, 0]
    picture = image_at(colours[seen.confidence], size)
    title = draw_title(f"mean confidence: {seen.confidence.mean() / 255:.2f}", size[1], text_scale(picture))
    ramp = Ramp("confidence", tuple((r, g, b) for r, g, b in colours.tolist()))
    return Drawing(stack([title, picture], axis=0), [ramp])


KIND = Kind("confidence", "confidence", draw, frozenset({CONFIDENCE}))
