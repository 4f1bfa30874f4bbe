"""colours: the mask in the classes' colours."""

from segcli.engine.drawing.masks import colour_mask
from segcli.engine.prediction.sinks.base import FileEach, Plan
from segcli.io.images import encode_png


def open_sink(plan: Plan) -> FileEach:
    """colours/NAME.png."""
    return FileEach(plan, "colours", ".png", lambda found: encode_png(colour_mask(found.labels, plan.task)))
