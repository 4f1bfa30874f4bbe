"""binary: where each class is, as masks of 0 and 255."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcli.engine.prediction.sinks.base import Group, Plan, Prediction, Records, chosen
from segcli.io.images import encode_mask


@dataclass(frozen=True)
class Binary:
    """Writes a mask a class, or a group of classes: 255 where it is, else 0."""

    plan: Plan
    groups: tuple[Group, ...]

    only_says = False

    @property
    def needs(self) -> frozenset[str]:
        """Probabilities, where a threshold is set."""
        return frozenset({"probabilities"} if self.plan.threshold is not None else ())

    def files(self, name: str) -> tuple[Path, ...]:
        """One in the folder of each group."""
        return tuple(self.plan.output / "binary" / group.name / f"{name}.png" for group in self.groups)

    def write(self, prediction: Prediction) -> None:
        """Writes them."""
        for group, path in zip(self.groups, self.files(prediction.item.name), strict=True):
            there = chosen(prediction, group.indices, self.plan.threshold)
            self.plan.write(path, encode_mask(there.astype(np.uint8) * 255))

    def add(self, record: None) -> None:
        """Has nothing to add up."""

    def finish(self, records: Records) -> list[Path]:
        """Names the folder."""
        return [self.plan.output / "binary"]


def open_sink(plan: Plan) -> Binary:
    """binary/CLASS/NAME.png."""
    every = tuple(Group(name.replace("/", "_"), (index,)) for index, name in enumerate(plan.task.classes))
    named = tuple(Group(group.name.replace("/", "_"), group.indices) for group in plan.only)
    return Binary(plan, named or every)
