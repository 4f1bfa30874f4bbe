"""LabelMe: a JSON file an image, with labelled shapes."""

import base64
import binascii
import glob
from collections.abc import Sequence
from math import dist
from pathlib import Path
from typing import Any

import numpy as np

from segcli.datasets.layouts.annotations import Annotated, ImageFinder, Json, Region, json_source, stated_size
from segcli.datasets.layouts.base import Options, Source
from segcli.datasets.layouts.rasterise import Ellipse, Polygon, Runs, Shape, rectangle, stroke
from segcli.errors import FileProblem
from segcli.io.images import SUFFIXES, decode

_UNDRAWN = {"point", "points"}


def find(root: Path, options: Options) -> Source:
    """Finds LabelMe's JSON files anywhere below a folder; other JSON files are passed over.

    Shapes are drawn in the order of the file, lines 2 pixels wide, points not at all; those of one label and group_id
    are one object. `__ignore__` is ignored, `_background_` and its like are class 0. A folder named train, val or
    test says the split. Classes are those of the options, else background and the sorted labels.

    Raises:
        DataError: if there is no such file.
        UsageError: if the options name no classes.
    """
    return json_source(root, options, _annotated, "JSON files of LabelMe; give the folder that it saved to with --from")


def _annotated(document: Json, file: Path, images: ImageFinder) -> Annotated | None:
    if "shapes" not in document:
        return None
    regions = [_region(shape) for shape in document["shapes"] if shape.get("shape_type") not in _UNDRAWN]
    size = stated_size({"height": document.get("imageHeight"), "width": document.get("imageWidth")})
    name = str(document.get("imagePath") or file.with_suffix(".jpg").name)
    beside = sorted(file.parent.glob(f"{glob.escape(file.stem)}.*"))
    names = [name, *(path.name for path in beside if path.suffix.lower() in SUFFIXES)]
    embedded = f"holds its image only embedded, as imageData; save that as {name} beside it"
    image = images.find(file, *names, problem=embedded if document.get("imageData") else "")
    path = file.relative_to(images.root)
    return Annotated.of(path, path.parts[:-1], image, file, size, regions)


def _region(shape: Json) -> Region:
    group = shape.get("group_id")
    return Region(str(shape["label"]), _shapes(shape), None if group is None else str(group))


def _shapes(shape: Json) -> tuple[Shape, ...]:
    points: Sequence[Sequence[float]] = shape["points"]
    match shape.get("shape_type") or "polygon":
        case "polygon" | "rotation":
            return (Polygon.of(points),)
        case "rectangle" if len(points) == 2:
            (left, top), (right, bottom) = points
            return (rectangle(left, top, right, bottom),)
        case "rectangle":
            return (Polygon.of(points),)
        case "circle":
            (x, y), rim = points
            radius = dist((x, y), rim)
            return (Ellipse(x, y, radius, radius),)
        case "line" | "linestrip":
            return stroke(points)
        case "mask":
            left, top = (int(value) for value in points[0])
            return (Runs.of_bits(_bitmap(shape["mask"]), left, top),)
        case kind:
            raise ValueError(f"shape_type {kind!r} is not known")


def _bitmap(encoded: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """A base64-encoded PNG's pixels that are not 0."""
    try:
        return np.asarray(decode(Path("its PNG"), base64.b64decode(encoded)).image.convert("L")) > 0
    except (FileProblem, binascii.Error) as error:
        raise ValueError(f"the mask of a shape is no PNG ({error})") from None
