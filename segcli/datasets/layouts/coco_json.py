"""COCO's JSON files: instances, whose outlines are drawn, and panoptic, whose segments are painted in PNG files."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from segcli.datasets.layouts.annotations import (
    Annotated,
    Json,
    Region,
    as_source,
    gather,
    parsing,
    plain_name,
    read_json,
    stated_size,
)
from segcli.datasets.layouts.base import SPLIT_NAMES, UNDEALT, Options, Source
from segcli.datasets.layouts.rasterise import Polygon, Runs, Shape, run_lengths
from segcli.errors import DataError, FileProblem

MARK = ("annotations/instances_*.json", "annotations/panoptic_*.json", "*/_annotations.coco.json")
VARIANTS = ("instances", "panoptic")

_ROBOFLOW = "_annotations.coco.json"


def find(root: Path, options: Options) -> Source:
    """Finds COCO JSON files and the images that they list.

    They are `annotations/{variant}_{train,val,test}*.json` with images below `{train,val,test}*/` or `images/`, or
    Roboflow's `{train,valid,test}/_annotations.coco.json` with images beside, or one file, whose images are still to
    be dealt. The variant is `instances` (background is class 0, smaller objects lie over larger ones) or `panoptic`
    (what no segment covers is ignored). Classes are those of the options, else the categories in the order of their
    ids.

    Raises:
        DataError: if there is no such file, or one is no JSON of COCO or names a category that it does not list.
        UsageError: if the options name no classes.
    """
    if not root.is_dir():
        raise FileProblem(f"{root}: no such folder", "missing")
    variant = options.variant or VARIANTS[0]
    images: list[_Image] = []
    categories: dict[int, Json] = {}
    for place in _places(root, options, variant):
        images += _read(place, variant, categories)
    categories = {number: categories[number] for number in sorted(categories, key=int)}
    read = _outlined if variant == "instances" else _painted
    found, findings = gather(
        (image.place.file, f"{image.place.file}: {image.file_name}", partial(read, image, categories))
        for image in images
    )
    order = [str(category["name"]) for category in categories.values()]
    return as_source(root, found, findings, options, order, background=variant == "instances")


@dataclass(frozen=True)
class _Place:
    """A JSON file, the split of its images, the folders where these may lie, and those where its PNG files may."""

    file: Path
    split: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...]


@dataclass(frozen=True)
class _Image:
    """An image as a JSON file lists it; its annotations are None where the file has none at all, as of a test split."""

    place: _Place
    file_name: str
    size: tuple[int, int] | None
    annotations: Sequence[Json] | None


def _places(root: Path, options: Options, variant: str) -> list[_Place]:
    named = root / options.masks
    if named.suffix.lower() == ".json":
        return [_lone(named, root, options)]
    roboflow = [root / folder / _ROBOFLOW for folder in ("train", "valid", "test")]
    if found := [_Place(f, SPLIT_NAMES[f.parent.name], (f.parent,), ()) for f in roboflow if f.is_file()]:
        return found
    files = [file for folder in ("annotations", ".") for file in sorted((root / folder).glob(f"{variant}_*.json"))]
    if found := [place for file in files if (place := _of_split(file, root, options, variant))]:
        return found
    files = [file for folder in (root, root / "annotations") for file in sorted(folder.glob("*.json"))]
    if len(files) != 1:
        raise DataError(
            f"{root} holds no annotations/{variant}_train*.json or train/{_ROBOFLOW}, and {len(files) or 'no'} other "
            f"JSON files; name the one to read with --masks, or another --variant"
        )
    return [_lone(files[0], root, options)]


def _lone(file: Path, root: Path, options: Options) -> _Place:
    tail = file.stem.partition("_")[2]  # as CVAT's instances_default.json has its images in images/default
    images = root / options.images
    return _Place(file, UNDEALT, (images, images / tail, file.parent, root), _mask_folders(file, root, options))


def _of_split(file: Path, root: Path, options: Options, variant: str) -> _Place | None:
    """A file whose name tells its split: train, val or test, with anything behind it, such as a year."""
    tail = file.stem.removeprefix(f"{variant}_")
    match = re.match("train|val|test", tail)
    if not match:
        return None
    homes = dict.fromkeys((root, root / "images", root / options.images))
    alike = [folder for home in homes for folder in sorted(home.glob(f"{match[0]}*")) if folder.is_dir()]
    folders = dict.fromkeys([*(home / tail for home in homes), *alike, *reversed(homes)])
    return _Place(file, match[0], tuple(folders), _mask_folders(file, root, options))


def _mask_folders(file: Path, root: Path, options: Options) -> tuple[Path, ...]:
    return file.with_suffix(""), root / file.stem, root / options.masks, file.parent


def _read(place: _Place, variant: str, categories: dict[int, Json]) -> list[_Image]:
    """The images of a file with their annotations; its categories join those of other files, by id."""
    document = read_json(place.file)
    with parsing(str(place.file)):
        annotations = document.get("annotations") if place.split == "test" else document["annotations"]
        _refuse_other_kinds(place.file, annotations or (), variant)
        by_image: dict[Any, list[Json]] = defaultdict(list)
        for annotation in annotations or ():
            by_image[annotation["image_id"]].append(annotation)
        images = []
        for image in document["images"]:
            own = None if annotations is None else by_image[image["id"]]
            images.append(_Image(place, str(image["file_name"]), stated_size(image), own))
        if not images:
            raise ValueError("it lists no images")
        for category in _without_dummy(document["categories"], annotations or ()):
            number, name = category["id"], category["name"]
            if categories.setdefault(number, category)["name"] != name:
                raise DataError(
                    f"{place.file}: category {number} is {name!r}, but {categories[number]['name']!r} in another file; "
                    f"give each category the same id in all files"
                )
    return images


def _refuse_other_kinds(file: Path, annotations: Sequence[Json], variant: str) -> None:
    if annotations and ("segments_info" in annotations[0]) != (variant == "panoptic"):
        other = next(name for name in VARIANTS if name != variant)
        raise FileProblem(f"{file} is no {variant} file of COCO; try --variant {other}", "damaged")
    if variant == "instances" and annotations and not any(item.get("segmentation") for item in annotations):
        message = f"{file} holds boxes, but no segmentation; export the outlines of the objects too"
        raise FileProblem(message, "no-mask")


def _without_dummy(categories: Sequence[Json], annotations: Sequence[Json]) -> list[Json]:
    """Leaves out the category that Roboflow adds as the parent of all others, where nothing is annotated with it."""
    parents = {category.get("supercategory") for category in categories}
    used = {annotation.get("category_id") for annotation in annotations}
    return [
        category
        for category in categories
        if category.get("supercategory") != "none" or category["name"] not in parents or category["id"] in used
    ]


def _outlined(image: _Image, categories: Mapping[int, Json]) -> Annotated:
    """An image whose objects are drawn by descending area, so that small ones stay visible."""
    place, regions = image.place, []
    for annotation in sorted(image.annotations or (), key=_area, reverse=True):
        what = f"{place.file}: annotation {annotation.get('id')} of {image.file_name}"
        with parsing(what):
            region = _region(annotation, image, categories)
            regions.append(replace(region, shapes=_shapes(annotation, image.size, what)))
    name, path = _find_image(image.file_name, place)
    return Annotated(name, place.split, path, place.file, image.size, None if image.annotations is None else regions)


def _painted(image: _Image, categories: Mapping[int, Json]) -> Annotated:
    """An image whose segments are painted in a PNG file."""
    place = image.place
    name, path = _find_image(image.file_name, place)
    if image.annotations is None:
        return Annotated(name, place.split, path, place.file, image.size, None)
    if not image.annotations:
        raise FileProblem(f"{place.file}: {image.file_name} has no annotation; add it, or remove the image", "no-mask")
    listed = Path(str(image.annotations[0]["file_name"])).name
    segments = image.annotations[0]["segments_info"]
    regions = [replace(_region(item, image, categories), segment=int(item["id"])) for item in segments]
    painting = next((folder / listed for folder in place.masks if (folder / listed).is_file()), None)
    if painting is None:
        raise FileProblem(f"{place.file} lists {listed}, which is not in {place.masks[0]}; add it there", "missing")
    return Annotated(name, place.split, path, place.file, image.size, regions, painting)


def _region(item: Json, image: _Image, categories: Mapping[int, Json]) -> Region:
    number: Any = item.get("category_id")
    if number not in categories:
        raise DataError(
            f"{image.place.file}: {image.file_name} has an annotation of category {number}, which is not among the "
            f"categories; list it there, or remove the annotation"
        )
    single = bool(categories[number].get("isthing", 1)) and not item.get("iscrowd")
    return Region(str(categories[number]["name"]), single=single)


def _find_image(listed: str, place: _Place) -> tuple[str, Path]:
    """The name of a pair and the image file: below one of the folders, by the path listed or by its last part."""
    relative = Path(listed.replace("\\", "/"))
    for path in dict.fromkeys((relative, Path(relative.name))):
        for folder in place.images:
            if (folder / path).is_file():
                return plain_name(path), folder / path
    folder = next((folder for folder in place.images if folder.is_dir()), place.file.parent)
    message = f"{place.file} lists {listed}, which is not in {folder}; add the image, or take it off the list"
    raise FileProblem(message, "missing")


def _area(annotation: Json) -> float:
    area = annotation.get("area")
    return float(area) if isinstance(area, int | float) else 0.0


def _shapes(annotation: Json, size: tuple[int, int] | None, what: str) -> tuple[Shape, ...]:
    """What an annotation covers."""
    segmentation = annotation.get("segmentation")
    if not segmentation:
        raise FileProblem(f"{what} has no segmentation; draw its outline, or remove it", "no-mask")
    if isinstance(segmentation, list):
        return tuple(Polygon.of(_points(path)) for path in segmentation)
    height, width = segmentation["size"]
    if size not in {None, (height, width)}:
        message = f"{what} has an RLE of {width}×{height}, which is not the image's size; export it anew"
        raise FileProblem(message, "size-mismatch")
    counts = segmentation["counts"]
    lengths = counts if isinstance(counts, list) else run_lengths(counts)
    return (Runs.of(lengths, width, height, by_columns=True),)


def _points(path: Sequence[float]) -> list[tuple[float, float]]:
    if len(path) % 2:
        raise ValueError(f"a polygon has {len(path)} numbers, not two a point")
    return list(zip(path[::2], path[1::2], strict=True))
