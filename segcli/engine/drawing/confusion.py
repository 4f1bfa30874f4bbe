"""Which classes are taken for which, as a picture."""

from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcli.engine.drawing.figure import READABLE, figure_at, ratio_text, short_text
from segcli.task import Task

_NAMED = 250  # more classes than this get no name beside the confusion matrix


def draw_confusion(counts: NDArray[np.int64], iou: Sequence[float], task: Task, path: Path) -> None:
    """Draws the confusion matrix in percent of each true class's pixels, with the IoU beside the names.

    Args:
        counts: C×C pixels, true class by predicted class.
        iou: of each class; NaN for one that does not occur.
        task: the classes' names.
        path: the PNG to write.
    """
    from matplotlib.colors import PowerNorm

    pixels = counts.sum(axis=1, keepdims=True)
    percent = np.divide(100.0 * counts, pixels, out=np.full(counts.shape, nan), where=pixels > 0)
    readable, named = task.num_classes <= READABLE, task.num_classes <= _NAMED
    side = max(task.num_classes * (0.48 if readable else 0.15), 3.5) if named else 16  # inches
    with figure_at(path, side + 3.5, side + 2.5, crop=True) as figure:
        axes = figure.subplots()
        axes.set_facecolor("0.85")  # shows where a class has no true pixels
        # The root of the share is what is coloured, so that a few percent can be seen.
        image = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
        axes.set_title(f"Pixels of each true class by predicted class; mean IoU {np.nanmean(iou):.3f}", fontsize=11)
        axes.set(xlabel="predicted class", ylabel="true class and its IoU" if named else "true class")
        figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02, format="%d %%", ticks=[0, 1, 5, 20, 50, 100])
        if named:
            _write_names(axes, iou, task)
        if readable:
            _write_numbers(axes, percent)


def _write_names(axes: Any, iou: Sequence[float], task: Task) -> None:
    """Writes the classes along both sides; where they are many, also at the top, with a line every ten."""
    many, places = task.num_classes > READABLE, range(task.num_classes)
    names = [short_text(name) for name in task.classes]
    labels = [f"{name}  {ratio_text(value)}" for name, value in zip(names, iou, strict=True)]
    size = 7 if many else 10
    axes.set_xticks(places, names, rotation=90, fontsize=size)
    axes.set_yticks(places, labels, fontsize=size)
    axes.tick_params(length=0, which="both", labeltop=many)
    if many:
        between = np.arange(9.5, task.num_classes - 1, 10)
        axes.set_xticks(between, minor=True)
        axes.set_yticks(between, minor=True)
        axes.grid(which="minor", color="0.8", linewidth=0.6)


def _write_numbers(axes: Any, percent: Any) -> None:
    for (row, column), value in np.ndenumerate(percent):
        if value >= 0.5:
            colour = "white" if value > 35 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=9, color=colour)
