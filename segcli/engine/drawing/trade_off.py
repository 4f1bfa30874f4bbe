"""What a model gives against what it costs, as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segcli.engine.drawing.figure import figure_at, short_text


@dataclass(frozen=True)
class Point:
    """A model in the picture.

    Attributes:
        name: beside its point.
        miou: 0…1.
        latency: seconds for an image, in the median.
        quartiles: the seconds below which a quarter and three quarters of the predictions took.
        num_bytes: of its file, which is the area of its point.
    """

    name: str
    miou: float
    latency: float
    quartiles: tuple[float, float]
    num_bytes: int


def draw_trade_off(points: Sequence[Point], title: str, path: Path) -> None:
    """Draws mIoU against latency, with the quartiles as a bar; whatever lies to the left and above is better.

    Args:
        points: one a model.
        title: of the picture.
        path: the PNG to write.
    """
    latencies = [1000 * point.latency for point in points]
    largest = max(point.num_bytes for point in points)
    with figure_at(path, 9, 5.5) as figure:
        axes = figure.subplots()
        for place, point in enumerate(points):
            colour, x, y = f"C{place % 10}", 1000 * point.latency, 100 * point.miou
            bar = [[x - 1000 * point.quartiles[0]], [1000 * point.quartiles[1] - x]]
            axes.errorbar(x, y, xerr=bar, color=colour, capsize=3, linewidth=1)
            axes.scatter(x, y, s=30 + 370 * point.num_bytes / largest, color=colour, alpha=0.6, label=_label(point))
        axes.set_title(short_text(title, 110), fontsize=11)
        axes.set(xlabel="milliseconds for an image (bar: the quartiles)", ylabel="mIoU in percent")
        axes.margins(0.15)
        if max(latencies) > 8 * min(latencies):
            axes.set_xscale("log")
        else:
            axes.set_xlim(left=0)
        low, high = axes.get_ylim()
        if high - low < 1:  # so that a rounding does not look like a difference
            axes.set_ylim((low + high) / 2 - 0.5, (low + high) / 2 + 0.5)
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=2, fontsize=9, markerscale=0.6, frameon=False)


def _label(point: Point) -> str:
    size = f"{point.num_bytes / 1e6:.1f} MB"
    return f"{short_text(point.name, 36)}: {1000 * point.latency:.0f} ms, {100 * point.miou:.1f} %, {size}"
