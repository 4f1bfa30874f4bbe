"""Pictures of a run: its figures as curves, and which classes are taken for which."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np

from segcli.engine.evaluation.scores import Scores
from segcli.io.files import replacing
from segcli.task import Task

Row = Mapping[str, Any]

# Title of a plot and the columns of results.csv that it shows, each under its label.
_PLOTS = (
    ("loss", {"train": "train_loss", "val": "val_loss"}),
    ("mean IoU", {"train": "train_miou", "val": "val_miou"}),
    ("learning rate", {"highest of the groups": "lr"}),
)
_CLASS = "val_iou/"
# More classes than this get no curve each, and no numbers in their confusion matrix.
_READABLE = 25
# More classes than this get no name beside the confusion matrix.
_NAMED = 250


def draw_curves(rows: Sequence[Row], path: Path, best: str = "val_miou") -> None:
    """Draws loss, mean IoU, learning rate and the IoU of each class over the epochs, and marks the best epoch.

    Args:
        rows: those of results.csv; a plot is drawn where there are columns for it.
        path: the PNG to write.
        best: the column that decides which epoch is the best; the lowest counts for one that ends in `_loss`.
    """
    plots = [(title, {label: name for label, name in columns.items() if name in rows[-1]}) for title, columns in _PLOTS]
    plots = [(title, columns) for title, columns in plots if columns]
    classes = [name for name in rows[-1] if name.startswith(_CLASS)]
    with_classes = 0 < len(classes) <= _READABLE
    marked = _best_row(rows, best)
    with _figure(path, 13, 9 if with_classes else 3.8) as figure:
        upper, lower = figure.subfigures(2, 1, height_ratios=(3.8, 5.2)) if with_classes else (figure, None)
        for axes, (title, columns) in zip(upper.subplots(1, len(plots), squeeze=False)[0], plots, strict=True):
            _plot(axes, title, rows, list(columns.items()))
            _mark(axes, marked, best, best in columns.values())
            axes.legend()
        if lower is not None:
            axes = lower.subplots()
            _plot_classes(axes, rows, classes, marked or rows[-1])
            _mark(axes, marked, best, best in classes)


def _plot_classes(axes: Any, rows: Sequence[Row], columns: Sequence[str], row: Row) -> None:
    """Draws a curve a class; the legend gives the IoU in one row, from the highest down."""
    order = sorted(columns, key=lambda column: (isnan(_value(row, column)), -_value(row, column)))
    curves = [(f"{_ratio(_value(row, column))}  {_short(column.removeprefix(_CLASS))}", column) for column in order]
    _plot(axes, f"IoU of each class (beside the names: at epoch {row['epoch']})", rows, curves)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9, labelspacing=0.3)


def _plot(axes: Any, title: str, rows: Sequence[Row], curves: Sequence[tuple[str, str]]) -> None:
    """Draws a curve for each label and column; ten colours come in a second and third kind of line."""
    epochs = [row["epoch"] for row in rows]
    size = 3 if len(rows) <= 60 else 0
    for place, (label, column) in enumerate(curves):
        values = [_value(row, column) for row in rows]
        axes.plot(epochs, values, ("-", "--", ":")[place // 10], color=f"C{place % 10}", marker="o", markersize=size,
                  label=label)  # fmt: skip
    axes.set_title(title, fontsize=11)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.grid(alpha=0.3)


def _mark(axes: Any, row: Row | None, column: str, shown: bool) -> None:
    """Draws a line at the best epoch, and a star with the value in the title where the column is shown."""
    if row is None:
        return
    axes.axvline(row["epoch"], color="0.6", linestyle=(0, (2, 3)), linewidth=1, zorder=0)
    if shown:
        axes.plot(row["epoch"], row[column], "*", markersize=13, color="tab:red", zorder=5)
        axes.set_title(
            f"{axes.get_title()} (best: {_short(column)} {row[column]:.3f} at epoch {row['epoch']})", fontsize=11
        )


def _best_row(rows: Sequence[Row], column: str) -> Row | None:
    """The row of the best epoch; None where no row has a figure."""
    sign = -1 if column.endswith("_loss") else 1
    judged = [row for row in rows if not isnan(_value(row, column))]
    return max(judged, key=lambda row: sign * _value(row, column)) if judged else None


def _value(row: Row, column: str) -> float:
    return float(row.get(column, nan))


def draw_confusion(scores: Scores, task: Task, path: Path) -> None:
    """Draws the confusion matrix in percent of each true class's pixels, with the IoU beside the names.

    Args:
        scores: of an evaluation.
        task: the classes' names.
        path: the PNG to write.
    """
    from matplotlib.colors import PowerNorm

    counts = scores.confusion
    pixels = counts.sum(axis=1, keepdims=True)
    percent = np.divide(100.0 * counts, pixels, out=np.full(counts.shape, nan), where=pixels > 0)
    readable, named = task.num_classes <= _READABLE, task.num_classes <= _NAMED
    side = max(task.num_classes * (0.48 if readable else 0.15), 3.5) if named else 16  # inches
    with _figure(path, side + 3.5, side + 2.5, crop=True) as figure:
        axes = figure.subplots()
        axes.set_facecolor("0.85")  # shows where a class has no true pixels
        # The root of the share is what is coloured, so that a few percent can be seen.
        image = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
        axes.set_title(f"Pixels of each true class by predicted class; mean IoU {scores.miou:.3f}", fontsize=11)
        axes.set(xlabel="predicted class", ylabel="true class and its IoU" if named else "true class")
        figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02, format="%d %%", ticks=[0, 1, 5, 20, 50, 100])
        if named:
            _write_names(axes, scores, task)
        if readable:
            _write_numbers(axes, percent)


def _write_names(axes: Any, scores: Scores, task: Task) -> None:
    """Writes the classes along both sides; where they are many, also at the top, with a line every ten."""
    many, places = task.num_classes > _READABLE, range(task.num_classes)
    names = [_short(name) for name in task.classes]
    labels = [f"{name}  {_ratio(iou)}" for name, iou in zip(names, scores.iou, strict=True)]
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


def _ratio(value: float) -> str:
    return "   –" if isnan(value) else f"{value:.2f}"


def _short(name: str, length: int = 24) -> str:
    """A name that fits beside a picture, with dollars that Matplotlib does not take for formulas."""
    short = name if len(name) <= length else f"{name[: length - 1].rstrip(' ,;')}…"
    return short.replace("$", r"\$")


@contextmanager
def _figure(path: Path, width: float, height: float, crop: bool = False) -> Iterator[Any]:
    """Gives an empty figure of a size in inches; it is written as a PNG when the block ends.

    What stays empty around the drawing can be cropped, which takes twice the time.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    with replacing(path) as staged, warnings.catch_warnings():
        # Letters that the font lacks, as in Chinese class names, become boxes.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(staged, dpi=110, bbox_inches="tight" if crop else None, pad_inches=0.12)
