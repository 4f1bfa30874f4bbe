"""overlays: the mask blended over the image, with contours and a legend."""

from segcli.engine.drawing.masks import overlay
from segcli.engine.prediction.sinks.base import FileEach, Plan
from segcli.io.images import encode_jpeg


def open_sink(plan: Plan) -> FileEach:
    """overlays/NAME.jpg."""
    return FileEach(
        plan,
        "overlays",
        ".jpg",
        lambda found: encode_jpeg(overlay(found.image, found.labels, plan.task), quality=92),
    )
