"""The figures of a dataset as one HTML page, pictures included."""

import base64
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape

from segcli.datasets.stats.measure import OBJECT_SIDES, Example, Statistics
from segcli.io.files import write_text
from segcli.io.images import Mask, Pixels, encode_jpeg
from segcli.task import Colour

_SIDE = 150  # pixels of an example's shorter side
_MARGIN = 0.35  # of the object's size, shown around it
_MANY_CLASSES = 40  # from which each class gets fewer examples, so that the page stays small


def write_page(statistics: Statistics, path: Path) -> None:
    """Writes the page: a file that needs no other."""
    templates = Environment(loader=PackageLoader("segcli.datasets.stats", "."), autoescape=select_autoescape())
    template = templates.get_template("page.html")
    write_text(path, template.render(**_content(statistics)))


def _content(statistics: Statistics) -> dict[str, Any]:
    splits = statistics.splits
    most = {split: max(figures.shares() or [0]) or 1 for split, figures in splits.items()}
    weights = statistics.class_weights().values()
    bins, classes = _bin_names(), []
    shown = 2 if statistics.task.num_classes > _MANY_CLASSES else None
    for index, name in enumerate(statistics.task.classes):
        objects = [sum(figures.objects[index][place] for figures in splits.values()) for place in range(len(bins))]
        classes.append({
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*statistics.task.palette[index]),
            "shares": [
                {"value": figures.shares()[index], "bar": figures.shares()[index] / most[split]}
                for split, figures in splits.items() if figures.pixels is not None
            ],
            "images": [figures.images_with[index] for figures in splits.values() if figures.pixels is not None],
            "weights": [weight[index] for weight in weights],
            "objects": {
                "number": sum(objects), "bins": objects, "bars": [count / max(*objects, 1) for count in objects],
            },
            "examples": [_picture(statistics, example, index) for example in statistics.examples[index][:shown]],
        })  # fmt: skip
    return {
        "name": statistics.name,
        "classes": classes,
        "splits": [{"name": split, **_summary(statistics, split)} for split in splits],
        "masked": [split for split, figures in splits.items() if figures.pixels is not None],
        "bins": bins,
    }


def _bin_names() -> list[str]:
    sides = [str(side) for side in OBJECT_SIDES]
    return [f"< {sides[0]}²", *(f"{a}² – {b}²" for a, b in pairwise(sides)), f"≥ {sides[-1]}²"]


def _summary(statistics: Statistics, split: str) -> dict[str, Any]:
    figures = statistics.splits[split]
    total = sum(figures.pixels or ()) + figures.ignored
    sizes = [f"{width}×{height} ({count})" for (height, width), count in list(figures.sizes.items())[:5]]
    return {
        "images": figures.images,
        "sizes": ", ".join(sizes) + (", …" if len(figures.sizes) > 5 else ""),
        "mean": ", ".join(f"{value:.3f}" for value in figures.mean),
        "std": ", ".join(f"{value:.3f}" for value in figures.std),
        "ignored": f"{figures.ignored / total:.1%}" if total else "–",
        "objects": sum(sum(bins) for bins in figures.objects),
    }


def _picture(statistics: Statistics, example: Example, index: int) -> dict[str, str]:
    """An example as a JPEG in a data URL."""
    image, mask = statistics.samples[example.split][example.place].read()
    rows, columns = _window(example.box, image.shape[0], image.shape[1])
    shown = _highlighted(image[rows, columns], mask[rows, columns] == index, statistics.task.palette[index])
    url = "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(shown, quality=82)).decode()
    return {"url": url, "title": f"{example.name} ({example.split}), {example.area} pixels"}


def _window(box: tuple[int, int, int, int], height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns around an object: its box with a margin, at least a few dozen pixels, at most 2:1."""
    left, top, box_width, box_height = box
    side = max(box_width, box_height, 48) * (1 + 2 * _MARGIN)
    high, wide = min(round(max(box_height * (1 + 2 * _MARGIN), side / 2)), height), min(round(side), width)
    if box_height > box_width:
        high, wide = min(round(side), height), min(round(max(box_width * (1 + 2 * _MARGIN), side / 2)), width)
    y = min(max(round(top + box_height / 2 - high / 2), 0), height - high)
    x = min(max(round(left + box_width / 2 - wide / 2), 0), width - wide)
    return slice(y, y + high), slice(x, x + wide)


def _highlighted(image: Pixels, region: Mask, colour: Colour) -> Pixels:
    """The image with all but a region pale, and the region's edge in its colour, scaled to the page."""
    factor = _SIDE / min(image.shape[:2])
    size = (max(round(image.shape[1] * factor), 1), max(round(image.shape[0] * factor), 1))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    inside = cv2.resize(region.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    picture = np.where(inside[..., None] > 0, scaled, scaled * 0.3 + 160).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    shown = np.ascontiguousarray(picture)
    cv2.drawContours(shown, contours, -1, (255, 255, 255), 3, cv2.LINE_AA)
    cv2.drawContours(shown, contours, -1, colour, 2, cv2.LINE_AA)
    return shown
