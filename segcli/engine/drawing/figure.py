"""An empty figure, written as a PNG, and words that fit into it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import Any

from segcli.io.files import replacing

READABLE = 25
"""More classes than this get no curve each, and no numbers in their confusion matrix."""


@contextmanager
def figure_at(path: Path, width: float, height: float, crop: bool = False) -> Iterator[Any]:
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


def ratio_text(value: float) -> str:
    """A ratio with two digits; a dash where it is no number."""
    return "   –" if isnan(value) else f"{value:.2f}"


def short_text(name: str, length: int = 24) -> str:
    """A name that fits beside a picture, with dollars that Matplotlib does not take for formulas."""
    short = name if len(name) <= length else f"{name[: length - 1].rstrip(' ,;')}…"
    return short.replace("$", r"\$")
