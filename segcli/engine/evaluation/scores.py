"""Metrics from counts alone, so that no figure depends on batches, workers or processes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.io.images import Mask
from segcli.task import Task

Counts = NDArray[np.int64]
Ratios = NDArray[np.float64]
Logits = NDArray[np.float32]


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


@dataclass(frozen=True)
class Scores:
    """Figures made from a confusion matrix; NaN for a class that is neither in truth nor prediction.

    Attributes:
        confusion: C×C pixels, true class by predicted class.
    """

    confusion: Counts

    @property
    def iou(self) -> Ratios:
        """Intersection over union of each class: TP / (TP + FP + FN)."""
        return _ratio(self._hits, self._true + self._predicted - self._hits)

    @property
    def dice(self) -> Ratios:
        """Dice coefficient (F1) of each class: 2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self._hits, self._true + self._predicted)

    @property
    def accuracy(self) -> Ratios:
        """Share of each class's true pixels that are found: TP / (TP + FN)."""
        return _ratio(self._hits, self._true)

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur in truth or prediction."""
        return _mean(self.iou)

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the classes that occur in truth or prediction."""
        return _mean(self.dice)

    @property
    def mean_accuracy(self) -> float:
        """Mean accuracy over the classes that occur in truth."""
        return _mean(self.accuracy)

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels that are right."""
        return float(_ratio(self._hits.sum(), self.confusion.sum()))

    @property
    def _hits(self) -> Counts:
        return np.asarray(np.diagonal(self.confusion))

    @property
    def _true(self) -> Counts:
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def _predicted(self) -> Counts:
        return np.asarray(self.confusion.sum(axis=0))

    def summary(self) -> dict[str, float]:
        """The figures over all classes."""
        return {
            "miou": self.miou,
            "mean_dice": self.mean_dice,
            "mean_accuracy": self.mean_accuracy,
            "pixel_accuracy": self.pixel_accuracy,
        }

    def to_json(self, task: Task) -> dict[str, Any]:
        """All figures as plain JSON values; null for a class that does not occur."""
        columns = {"iou": self.iou, "dice": self.dice, "accuracy": self.accuracy}
        classes = {
            name: {figure: _plain(values[index]) for figure, values in columns.items()}
            for index, name in enumerate(task.classes)
        }
        return {**{name: _plain(value) for name, value in self.summary().items()}, "classes": classes}


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


def _ratio(part: Any, whole: Any) -> Ratios:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.true_divide(part, whole))


def _mean(values: Ratios) -> float:
    occurring = values[~np.isnan(values)]
    return float(occurring.mean()) if occurring.size else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
