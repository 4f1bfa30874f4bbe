"""csv: the pixels of each class in each image, as a table."""

import csv
import io
from collections.abc import Iterator
from functools import partial

import numpy as np

from segcli.engine.prediction.sinks.base import OneOfAll, Plan, Prediction, Record, Records


def open_sink(plan: Plan) -> OneOfAll:
    """areas.csv: a row an image; pixels, so that sums over images are right whatever their sizes."""
    return OneOfAll(plan, f"areas{plan.mark}.csv", partial(_record, plan), partial(_lines, plan))


def count_pixels(found: Prediction, plan: Plan) -> list[int]:
    """Pixels of each class, and behind them those that are ignored."""
    counts = np.bincount(found.labels.ravel(), minlength=plan.task.num_classes)[: plan.task.num_classes].tolist()
    return [*counts, found.labels.size - sum(counts)]


def _record(plan: Plan, found: Prediction) -> Record:
    return [found.item.name, found.item.origin, *found.labels.shape, *count_pixels(found, plan)]


def _lines(plan: Plan, records: Records) -> Iterator[str]:
    yield _row(["name", "path", "height", "width", *plan.task.classes, "ignored"])
    yield from map(_row, records())


def _row(values: list[object]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(values)
    return stream.getvalue()
