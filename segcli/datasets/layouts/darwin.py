"""V7's Darwin JSON, 1.0 and 2.0: a file of labelled shapes an image."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from segcli.datasets.layouts.annotations import Annotated, ImageFinder, Json, Region, json_source, stated_size
from segcli.datasets.layouts.base import Options, Source
from segcli.datasets.layouts.rasterise import Ellipse, Polygon, Runs, Shape, rectangle, stroke


def find(root: Path, options: Options) -> Source:
    """Finds V7's Darwin JSON files (1.0 and 2.0), one an image, anywhere below a folder.

    Drawn are polygons, ellipses, bounding boxes (where they stand alone), lines (2 pixels wide) and raster layers, in
    the order of the file. A folder named train, val or test, here or in V7, says the split. Classes are those of the
    options, else background and the sorted labels.

    Raises:
        DataError: if there is no such file.
        UsageError: if the options name no classes.
    """
    return json_source(root, options, _image, "Darwin JSON files; give the folder of a V7 export with --from")


def _image(document: Json, file: Path, images: ImageFinder) -> Annotated | None:
    if "annotations" not in document or not document.keys() & {"item", "image"}:
        return None
    name, folder, size, slot = _item(document)
    annotations = [item for item in document["annotations"] if slot in {None, *item.get("slot_names", [slot])[:1]}]
    regions = [region for item in annotations for region in _regions(item, annotations, size)]
    path = PurePosixPath(folder.strip("/")) / name
    tell = (*path.parts[:-1], *file.relative_to(images.root).parts[:-1])
    return Annotated.of(path, tell, images.find(file, str(path), name), file, size, regions)


def _item(document: Json) -> tuple[str, str, tuple[int, int] | None, str | None]:
    """File name, folder in V7, height and width, and the slot that counts: the first."""
    if "item" in document:
        item = document["item"]
        slot = (item.get("slots") or [{}])[0]
        return item["name"], item.get("path") or "/", stated_size(slot), slot.get("slot_name")
    image = document["image"]
    name = image.get("original_filename") or image["filename"]
    return name, image.get("path") or "/", stated_size(image), None


def _regions(item: Json, annotations: Sequence[Json], size: tuple[int, int] | None) -> Iterator[Region]:
    if "frames" in item:
        raise ValueError("it is of a video; export its frames as images")
    if "raster_layer" in item:
        yield from _raster(item["raster_layer"], annotations, size)
    elif shapes := _shapes(item):
        yield Region(item["name"], shapes)


def _shapes(item: Json) -> tuple[Shape, ...]:
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


def _raster(layer: Json, annotations: Sequence[Json], size: tuple[int, int] | None) -> Iterator[Region]:
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
