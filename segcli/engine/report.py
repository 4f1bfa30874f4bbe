"""Curves of a run as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segcli.io.files import replacing

# Title of a plot and the columns of results.csv that it shows, each under its label.
_PLOTS = (
    ("loss", {"train": "train_loss", "val": "val_loss"}),
    ("mean IoU", {"train": "train_miou", "val": "val_miou"}),
    ("learning rate", {"highest of the groups": "lr"}),
)


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws loss, mean IoU and learning rate over the epochs; the best val_miou is marked.

    Args:
        rows: those of results.csv.
        path: the PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [row["epoch"] for row in rows]
    best = max(rows, key=lambda row: row["val_miou"])
    for axes, (title, columns) in zip(figure.subplots(1, len(_PLOTS)), _PLOTS, strict=True):
        for label, column in columns.items():
            axes.plot(epochs, [row[column] for row in rows], marker="o", markersize=3, label=label)
        if "val_miou" in columns.values():
            axes.plot(best["epoch"], best["val_miou"], "*", markersize=14, color="tab:red")
            axes.annotate(f"{best['val_miou']:.3f}", (best["epoch"], best["val_miou"]), xytext=(0, -18),
                          textcoords="offset points", ha="center")  # fmt: skip
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(path) as staged:
        figure.savefig(staged, dpi=110)
