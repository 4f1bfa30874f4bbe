"""masks: class indices as PNG, with the palette."""

from segcli.engine.prediction.sinks.base import FileEach, Plan
from segcli.io.images import encode_mask


def open_sink(plan: Plan) -> FileEach:
    """masks/NAME.png."""
    return FileEach(plan, "masks", ".png", lambda found: encode_mask(found.labels, plan.task.palette))
