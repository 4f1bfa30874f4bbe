"""V7's Darwin JSON, 1.0 and 2.0: a file of labelled shapes an image."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
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


def find(root: Path, options: Options) -> Source:
    """Finds V7's Darwin JSON files (1.0 and 2.0), one an image, anywhere below a folder.

    Drawn are polygons, ellipses, bounding boxes (where they stand alone), lines (2 pixels wide) and raster layers, in
    the order of the file. A folder named train, val or test, here or in V7, says the split. Classes are those of the
    options, else background and the sorted labels.

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
            if isinstance(document, dict) and "annotations" in document and document.keys() & {"item", "image"}:
                found.append(_image(document, file, root, images))
        except FileProblem as problem:
            findings.append(Finding(problem.kind, file, str(problem)))
    if not found and not findings:
        raise DataError(f"{root} holds no Darwin JSON files; give the folder of a V7 export with --from")
    return as_source(root, found, findings, options)


def _image(document: Mapping[str, Any], file: Path, root: Path, images: ImageFinder) -> Annotated:
    try:
        name, folder, size, slot = _item(document)
        annotations = [item for item in document["annotations"] if slot in {None, *item.get("slot_names", [slot])[:1]}]
        regions = [region for item in annotations for region in _regions(item, annotations, size)]
    except MALFORMED as error:
        raise malformed(str(file), error) from None
    path = PurePosixPath(folder.strip("/")) / name
    image = images.find(file.parent, str(path), name)
    if image is None:
        raise missing_image(file, str(path))
    split = split_of(*path.parts[:-1], *file.relative_to(root).parts[:-1])
    return Annotated(name_in_split(path), split, image, file, size, tuple(regions))


def _item(document: Mapping[str, Any]) -> tuple[str, str, tuple[int, int] | None, str | None]:
    """File name, folder in V7, height and width, and the slot that counts: the first."""
    if "item" in document:
        item = document["item"]
        slot = (item.get("slots") or [{}])[0]
        name, source = item["name"], slot
    else:
        item = source = document["image"]
        name, slot = item.get("original_filename") or item["filename"], {}
    height, width = source.get("height"), source.get("width")
    size = (int(height), int(width)) if height and width else None
    return name, item.get("path") or "/", size, slot.get("slot_name")


def _regions(
    item: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]], size: tuple[int, int] | None
) -> Iterator[Region]:
    if "frames" in item:
        raise ValueError("it is of a video; export its frames as images")
    if "raster_layer" in item:
        yield from _raster(item["raster_layer"], annotations, size)
    elif shapes := _shapes(item):
        yield Region(item["name"], shapes)


def _shapes(item: Mapping[str, Any]) -> tuple[Shape, ...]:
    """What an annotation covers; nothing where it is a tag, a keypoint or the like."""
    if polygon := item.get("polygon"):
        paths = polygon.get("paths") or [polygon["path"], *polygon.get("additional_paths", [])]
        return (Polygon.of(*map(_path, paths)),)
    if polygon := item.get("complex_polygon"):
        return (Polygon.of(*map(_path, polygon["path"])),)
    if ellipse := item.get("ellipse"):
        centre, radius = ellipse["center"], ellipse["radius"]
        return (Ellipse(centre["x"], centre["y"], radius["x"], radius["y"], float(np.degrees(ellipse["angle"]))),)
    if line := item.get("line"):
        return stroke(_path(line["path"]))
    if box := item.get("bounding_box"):
        return (rectangle(box["x"], box["y"], box["x"] + box["w"], box["y"] + box["h"]),)
    return ()


def _path(path: Sequence[Mapping[str, float]]) -> list[tuple[float, float]]:
    return [(point["x"], point["y"]) for point in path]


def _raster(
    layer: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]], size: tuple[int, int] | None
) -> Iterator[Region]:
    """The masks of a raster layer: runs of (number, length) along the rows, each number one annotation."""
    if size is None:
        raise ValueError("it has a raster layer, but no width and height")
    names = {item.get("id"): item["name"] for item in annotations}
    numbers, lengths = np.asarray(layer["dense_rle"], np.int64).reshape(-1, 2).T
    if lengths.sum() != size[0] * size[1]:
        raise ValueError(f"the run lengths of its raster layer do not add up to {size[1]}×{size[0]} pixels")
    values = np.repeat(numbers, lengths).reshape(size)
    for annotation, number in layer["mask_annotation_ids_mapping"].items():
        yield Region(names[annotation], (Runs.of_bits(values == number),))
