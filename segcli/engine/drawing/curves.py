"""The figures of a run as curves over its epochs."""

from collections.abc import Mapping, Sequence
from math import isnan, nan
from pathlib import Path
from typing import Any

from segcli.engine.drawing.figure import READABLE, figure_at, ratio_text, short_text

Row = Mapping[str, Any]

# Title of a plot and the columns of results.csv that it shows, each under its label.
_PLOTS = (
    ("loss", {"train": "train_loss", "val": "val_loss"}),
    ("mean IoU", {"train": "train_miou", "val": "val_miou"}),
    ("learning rate", {"highest of the groups": "lr"}),
)
_CLASS = "val_iou/"


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
    with_classes = 0 < len(classes) <= READABLE
    marked = _best_row(rows, best)
    with figure_at(path, 13, 9 if with_classes else 3.8) as figure:
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
    curves = [
        (f"{ratio_text(_value(row, column))}  {short_text(column.removeprefix(_CLASS))}", column) for column in order
    ]
    _plot(axes, f"IoU of each class (beside the names: at epoch {row['epoch']})", rows, curves)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9, labelspacing=0.3)


def _plot(axes: Any, title: str, rows: Sequence[Row], curves: Sequence[tuple[str, str]]) -> None:
    """Draws a curve for each label and column; ten colours come in a second and third kind of line."""
    size = 3 if len(rows) <= 60 else 0
    for place, (label, column) in enumerate(curves):
        shown = [row for row in rows if not isnan(_value(row, column))]  # not every epoch is validated
        epochs, values = [row["epoch"] for row in shown], [row[column] for row in shown]
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
            f"{axes.get_title()} (best: {short_text(column)} {row[column]:.3f} at epoch {row['epoch']})", fontsize=11
        )


def _best_row(rows: Sequence[Row], column: str) -> Row | None:
    """The row of the best epoch; None where no row has a figure."""
    sign = -1 if column.endswith("_loss") else 1
    judged = [row for row in rows if not isnan(_value(row, column))]
    return max(judged, key=lambda row: sign * _value(row, column)) if judged else None


def _value(row: Row, column: str) -> float:
    value = row.get(column)
    return nan if value is None else float(value)
