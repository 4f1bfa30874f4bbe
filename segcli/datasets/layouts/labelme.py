"""LabelMe: a JSON file an image, with labelled shapes."""

import base64
import binascii
import glob
from collections.abc import Mapping, Sequence
from math import dist
from pathlib import Path
from typing import Any

import numpy as np

from segcli.datasets.layouts.annotations import (
    MALFORMED,
    Annotated,
    ImageFinder,
    Region,
    as_source,
    files_below,
    malformed,
    missing_image,
    name_in_split,
    read_json,
    split_of,
)
from segcli.datasets.layouts.base import Finding, Options, Source
from segcli.datasets.layouts.rasterise import Ellipse, Polygon, Runs, Shape, rectangle, stroke
from segcli.errors import DataError, FileProblem
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
    images = ImageFinder(root, options)
    found: list[Annotated] = []
    findings: list[Finding] = []
    for file in files_below(root, ".json"):
        try:
            document = read_json(file)
            if isinstance(document, dict) and "shapes" in document:
                found.append(_annotated(document, file, root, images))
        except FileProblem as problem:
            findings.append(Finding(problem.kind, file, str(problem)))
    if not found and not findings:
        raise DataError(f"{root} holds no JSON files of LabelMe; give the folder that it saved to with --from")
    return as_source(root, found, findings, options)


def _annotated(document: Mapping[str, Any], file: Path, root: Path, images: ImageFinder) -> Annotated:
    try:
        regions = [_region(shape) for shape in document["shapes"] if shape.get("shape_type") not in _UNDRAWN]
        height, width = document.get("imageHeight"), document.get("imageWidth")
        size = (int(height), int(width)) if height and width else None
        name = str(document.get("imagePath") or file.with_suffix(".jpg").name)
    except MALFORMED as error:
        raise malformed(str(file), error) from None
    beside = (
        path for path in sorted(file.parent.glob(f"{glob.escape(file.stem)}.*")) if path.suffix.lower() in SUFFIXES
    )
    image = images.find(file.parent, name) or next(beside, None)
    if image is None and document.get("imageData"):
        message = f"{file} holds its image only embedded, as imageData; save that as {name} beside it"
        raise FileProblem(message, "missing")
    if image is None:
        raise missing_image(file, name)
    path = file.relative_to(root)
    return Annotated(name_in_split(path), split_of(*path.parts[:-1]), image, file, size, tuple(regions))


def _region(shape: Mapping[str, Any]) -> Region:
    group = shape.get("group_id")
    return Region(str(shape["label"]), _shapes(shape), None if group is None else str(group))


def _shapes(shape: Mapping[str, Any]) -> tuple[Shape, ...]:
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
