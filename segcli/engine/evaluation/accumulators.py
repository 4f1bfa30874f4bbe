"""What collects something from every image of an evaluation."""

from typing import Protocol

import numpy as np

from segcli.engine.arrays import Logits
from segcli.engine.evaluation.scores import Counts, Scores
from segcli.io.images import Mask
from segcli.task import Task


class Accumulator(Protocol):
    """Collects something from every image of an evaluation."""

    def add(self, name: str, logits: Logits, mask: Mask) -> None:
        """Takes one image: its name, its logits C×H×W and its mask H×W."""


class ConfusionMatrix:
    """Accumulates a confusion matrix over an evaluation."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.counts: Counts = np.zeros((task.num_classes, task.num_classes), np.int64)

    def add(self, name: str, logits: Logits, mask: Mask) -> None:
        """Takes one image: logits C×H×W and its mask H×W."""
        prediction = logits.argmax(axis=0)
        self.counts += confusion_matrix(mask, prediction, self.task.num_classes, self.task.ignore_index)

    def scores(self) -> Scores:
        """The figures so far."""
        return Scores(self.counts.copy())


def confusion_matrix(truth: Mask, prediction: Mask, num_classes: int, ignore_index: int) -> Counts:
    """Counts pixels by true class (row) and predicted class (column); ignored pixels count nowhere.

    Args:
        truth: class indices or the ignore index, of any shape.
        prediction: class indices 0…C-1, of the same shape.
        num_classes: C.
        ignore_index: the value of `truth` to leave out.

    Returns:
        C×C int64.
    """
    # Ignored pixels fall into one bin behind the last, which is cheaper than picking the valid ones.
    overflow = num_classes * num_classes
    cells = truth.astype(np.int64) * num_classes + prediction
    cells[truth == ignore_index] = overflow
    counts = np.bincount(cells.ravel(), minlength=overflow + 1)
    return counts[:overflow].reshape(num_classes, num_classes)
