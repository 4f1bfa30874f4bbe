"""CVAT for images 1.1: XML files of labelled shapes."""

from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from segcli.datasets.layouts.annotations import Annotated, ImageFinder, Region, as_source, files_below, gather
from segcli.datasets.layouts.base import Options, Source
from segcli.datasets.layouts.rasterise import Ellipse, Polygon, Runs, Shape, rectangle, stroke
from segcli.errors import DataError, FileProblem

MARK = ("annotations.xml",)

_UNDRAWN = {"tag", "points", "skeleton", "cuboid"}  # kinds of labels that cover no pixels


def find(root: Path, options: Options) -> Source:
    """Finds "CVAT for images 1.1" XML files below a folder (or the one that `options.masks` names).

    Drawn are polygons, boxes, ellipses, masks and polylines (2 pixels wide), by z_order. An image's subset, or a file
    or folder named train, val or test, says its split. Classes are those of the options, else background and the
    labels in the order of the project.

    Raises:
        DataError: if there is no such file, one is no XML, or no image is annotated.
        UsageError: if the options name no classes.
    """
    images = ImageFinder(root, options)
    named = root / options.masks
    documents = [(file, _parse_xml(file)) for file in ([named] if named.is_file() else files_below(root, ".xml"))]
    elements = [(file, element) for file, document in documents for element in document.iter("image")]
    if not elements:
        raise DataError(f"{root} holds no XML file of 'CVAT for images 1.1'; export the task in that format")
    found, findings = gather(
        (file, f"{file}: image {element.get('name', '?')}", partial(_image, element, file, images))
        for file, element in elements
    )
    order = [label for _, document in documents for label in _labels(document)]
    return as_source(root, found, findings, options, order)


def _parse_xml(file: Path) -> ElementTree.Element:
    try:
        document = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise FileProblem(f"{file} is no XML: {error}; export it anew", "damaged") from None
    if document.find(".//track") is not None and document.find("image") is None:
        raise FileProblem(f"{file} is of 'CVAT for video'; export it as 'CVAT for images 1.1'", "damaged")
    return document


def _labels(document: ElementTree.Element) -> list[str]:
    """The labels of the project that can cover pixels, in its order."""
    labels = document.findall("meta//label")
    return [label.findtext("name", "") for label in labels if label.findtext("type", "any") not in _UNDRAWN]


def _image(element: ElementTree.Element, file: Path, images: ImageFinder) -> Annotated:
    name, subset = element.attrib["name"], element.get("subset", "")
    ordered = sorted(element, key=lambda shape: int(shape.get("z_order", 0)))
    regions = [_region(shape) for shape in ordered if shape.tag in _SHAPES]
    size = int(element.attrib["height"]), int(element.attrib["width"])
    path = PurePosixPath(name.replace("\\", "/"))
    names = [f"{subset}/{name}", name] if subset else [name]
    tell = (subset, *path.parts[:-1], file.stem, *file.relative_to(images.root).parts[:-1])
    return Annotated.of(path, tell, images.find(file, *names), file, size, regions)


def _region(shape: ElementTree.Element) -> Region:
    group = shape.get("group_id")
    return Region(shape.attrib["label"], _SHAPES[shape.tag](shape), None if group in {None, "", "0"} else group)


def _points(shape: ElementTree.Element) -> list[list[float]]:
    return [[float(number) for number in point.split(",")] for point in shape.attrib["points"].split(";")]


def _box(shape: ElementTree.Element) -> tuple[Shape, ...]:
    left, top, right, bottom = (float(shape.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
    return (rectangle(left, top, right, bottom, float(shape.get("rotation", 0))),)


def _ellipse(shape: ElementTree.Element) -> tuple[Shape, ...]:
    x, y, radius_x, radius_y = (float(shape.attrib[name]) for name in ("cx", "cy", "rx", "ry"))
    return (Ellipse(x, y, radius_x, radius_y, float(shape.get("rotation", 0))),)


def _mask(shape: ElementTree.Element) -> tuple[Shape, ...]:
    left, top, width, height = (int(shape.attrib[name]) for name in ("left", "top", "width", "height"))
    counts = [int(count) for count in shape.attrib["rle"].split(",")]
    return (Runs.of(counts, width, height, left, top),)


_SHAPES = {
    "polygon": lambda shape: (Polygon.of(_points(shape)),),
    "polyline": lambda shape: stroke(_points(shape)),
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}
