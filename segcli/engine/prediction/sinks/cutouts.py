"""cutouts: the image, transparent where it shows none of the chosen classes."""

import numpy as np

from segcli.engine.prediction.sinks.base import FileEach, Plan, Prediction, chosen
from segcli.io.images import encode_png


def open_sink(plan: Plan) -> FileEach:
    """cutouts/NAME.png, of the classes of --only, else of all but the first, which is the ground as a rule."""
    named = [index for group in plan.only for index in group.indices]
    indices = named or list(range(1, plan.task.num_classes))

    def encode(found: Prediction) -> bytes:
        alpha = chosen(found, indices, plan.threshold).astype(np.uint8) * 255
        return encode_png(np.dstack([found.image, alpha]))

    needs = frozenset({"probabilities"} if plan.threshold is not None else ())
    return FileEach(plan, "cutouts", ".png", encode, needs)
