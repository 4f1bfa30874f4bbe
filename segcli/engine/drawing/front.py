"""What policies of test-time augmentation give against what they cost, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segcli.engine.drawing.figure import figure_at, short_text


def draw_front(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws each policy's mean IoU over its cost, with its interval, numbered, and a line along the front.

    Args:
        rows: of the table, by cost: `policy`, `cost`, `miou`, `miou_low`, `miou_high`, `images_per_second`, `front`.
        path: the PNG to write.
    """
    with figure_at(path, 11, 5, crop=True) as figure:
        axes = figure.subplots()
        front = [row for row in rows if row["front"]]
        axes.plot(
            [row["cost"] for row in front], [row["miou"] for row in front], drawstyle="steps-post", color="C0",
            label="front: none gives as much for less",
        )  # fmt: skip
        for number, row in enumerate(rows, 1):
            colour = "C0" if row["front"] else "0.55"
            spread = [[row["miou"] - row["miou_low"]], [row["miou_high"] - row["miou"]]]
            axes.errorbar(row["cost"], row["miou"], spread, color=colour, alpha=0.25, capsize=3, zorder=1)
            axes.plot(row["cost"], row["miou"], "o", color=colour, markersize=7, zorder=3)
            axes.annotate(
                str(number), (row["cost"], row["miou"]), (5, 6 if number % 2 else -14), textcoords="offset points",
                fontsize=9, color="black" if row["front"] else "0.4",
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.set(xlabel="cost: pixels through the network for each of the image", ylabel="mean IoU, 95 % interval")
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", fontsize=9)
        lines = [
            f"{number:>2}  {row['miou']:.4f}  {row['images_per_second']:>6.3g}/s  {short_text(row['policy'], 44)}"
            for number, row in enumerate(rows, 1)
        ]
        axes.text(1.02, 1, "\n".join(lines), transform=axes.transAxes, va="top", family="monospace", fontsize=8.5)
