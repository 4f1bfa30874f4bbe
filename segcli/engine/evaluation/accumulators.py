"""What collects something from every image of an evaluation."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from segcli.engine.arrays import Logits, operations
from segcli.engine.evaluation.scores import Counts, Scores
from segcli.task import Task


class Accumulator(Protocol):
    """Collects something from every image of an evaluation."""

    def add(self, names: Sequence[str], logits: Logits, truth: Any) -> None:
        """Takes a batch: N names, logits N×C×H×W, and masks N×H×W beside them, in arrays of the same library."""


class PixelCounts:
    """Accumulates pixels by true and predicted class, where the logits are; only the counts ever leave."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._total: Any = 0
        self._images: list[Any] = []

    def add(self, names: Sequence[str], logits: Logits, truth: Any) -> None:
        """Takes a batch."""
        ops = operations(logits)
        confusion = ops.confusion(truth, ops.labels(logits), self.task.num_classes, self.task.ignore_index)
        self._total = self._total + confusion.sum(0)
        self._images.append(ops.image_counts(confusion))

    def scores(self) -> Scores:
        """The figures so far."""
        if not self._images:
            return Scores(np.zeros((self.task.num_classes, self.task.num_classes), np.int64))
        return Scores(operations(self._total).to_numpy(self._total))

    def image_counts(self) -> Counts:
        """Each image's pixels of each class that are hit, true and predicted: N×3×C."""
        nothing = np.zeros((0, 3, self.task.num_classes), np.int64)
        return np.concatenate([nothing, *(operations(counts).to_numpy(counts) for counts in self._images)])
