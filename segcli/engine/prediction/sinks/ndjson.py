"""ndjson: a JSON object an image on stdout, as soon as it is done."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segcli.engine.prediction.sinks.areas import count_pixels
from segcli.engine.prediction.sinks.base import Plan, Prediction, Record, Records


@dataclass(frozen=True)
class Ndjson:
    """Says a line an image: its name, path, size, and the pixels of each class that is there."""

    plan: Plan
    say: Callable[[str], None]

    needs = frozenset[str]()
    only_says = True

    def files(self, name: str) -> tuple[Path, ...]:
        """None."""
        return ()

    def write(self, prediction: Prediction) -> Record:
        """Gives the line."""
        height, width = prediction.labels.shape
        names = [*self.plan.task.classes, "ignored"]
        counts = zip(names, count_pixels(prediction, self.plan), strict=True)
        pixels = {name: count for name, count in counts if count}
        item = prediction.item
        return {"name": item.name, "path": item.origin, "height": height, "width": width, "pixels": pixels}

    def add(self, record: Record) -> None:
        """Says the line."""
        self.say(json.dumps(record, ensure_ascii=False))

    def finish(self, records: Records) -> list[Path]:
        """Writes nothing."""
        return []


def open_sink(plan: Plan) -> Ndjson:
    """Lines on stdout."""
    return Ndjson(plan, plan.say)
