"""What annotation formats have in common: which regions become annotations, and by what name."""

from collections.abc import Iterable, Iterator

from segcli.engine.prediction.sinks.base import Plan, Prediction
from segcli.engine.prediction.sinks.outlines import Region, Ring, outlines
from segcli.task import BACKGROUND_LABELS

IGNORED = "__ignore__"
"""The label of pixels that are ignored, which `seg dataset prepare` reads as such."""


def regions_of(found: Prediction, plan: Plan, with_ignored: bool = False) -> Iterator[tuple[str, Region]]:
    """The label and the outline of each region but those of a background, the largest first.

    Args:
        found: the prediction.
        plan: names the classes and the tolerance.
        with_ignored: regions that are ignored too, where the format has a name for them.
    """
    regions = outlines(found.labels, plan.tolerance)
    for region in sorted(regions, key=lambda region: -region.pixels):
        if region.label < plan.task.num_classes and region.label != plan.task.ignore_index:
            label = plan.task.classes[region.label]
            if label.lower() not in BACKGROUND_LABELS:
                yield label, region
        elif with_ignored:
            yield IGNORED, region


def is_object(label: str) -> bool:
    """Whether regions of a class become annotations: those of a background do not."""
    return label.lower() not in BACKGROUND_LABELS


def flat(ring: Ring) -> list[float]:
    """Lists x and y of the points in turn."""
    return [value for point in ring for value in point]


def listed(parts: Iterable[str], opening: str, closing: str) -> Iterator[str]:
    """A list in JSON, piece by piece."""
    yield opening
    for number, part in enumerate(parts):
        yield f"{',' if number else ''}\n{part}"
    yield closing
