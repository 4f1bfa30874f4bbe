"""Metrics from counts alone, so that no figure depends on batches, workers or processes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.task import Task

Counts = NDArray[np.int64]
Ratios = NDArray[np.float64]


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


def _ratio(part: Any, whole: Any) -> Ratios:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.true_divide(part, whole))


def _mean(values: Ratios) -> float:
    occurring = values[~np.isnan(values)]
    return float(occurring.mean()) if occurring.size else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
