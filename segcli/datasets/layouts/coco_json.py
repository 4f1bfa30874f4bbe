"""COCO's JSON files: instances, whose outlines are drawn, and panoptic, whose segments are painted in PNG files."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segcli.datasets.layouts.annotations import (
    BACKGROUND,
    MALFORMED,
    in_splits,
    malformed,
    plain_name,
    read_json,
    refuse_nothing,
)
from segcli.datasets.layouts.base import UNDEALT, Finding, Options, Pair, Source
from segcli.datasets.layouts.rasterise import DrawnMask, DrawnObject, Polygon, Runs, Shape, run_lengths
from segcli.datasets.masks import MaskLook, MaskSource, look_at_values
from segcli.errors import DataError, FileProblem, UsageError, did_you_mean
from segcli.io.images import Mask, colour_values, decode, read_whole
from segcli.task import Task, check_classes, default_ignore_index

MARK = ("annotations/instances_*.json", "annotations/panoptic_*.json", "*/_annotations.coco.json")
VARIANTS = ("instances", "panoptic")

_ROBOFLOW = "_annotations.coco.json"
_ROBOFLOW_SPLITS = {"train": "train", "valid": "val", "test": "test"}

Json = Mapping[str, Any]


def find(root: Path, options: Options) -> Source:
    """Finds COCO JSON files and the images that they list.

    They are `annotations/{variant}_{train,val,test}*.json` with images below `{train,val,test}*/` or `images/`, or
    Roboflow's `{train,valid,test}/_annotations.coco.json` with images beside, or one file, whose images are still to
    be dealt. The variant is `instances` (background is class 0, smaller objects lie over larger ones) or `panoptic`
    (what no segment covers is ignored); the classes are the categories in the order of their ids.

    Raises:
        DataError: if there is no such file, or one is no JSON of COCO or names a category that it does not list.
        UsageError: if the variant is unknown, or the options name classes.
    """
    variant = options.variant or VARIANTS[0]
    if variant not in VARIANTS:
        raise UsageError(f"--variant {variant}: no variant of COCO's JSON; {did_you_mean(variant, VARIANTS)}")
    if options.classes is not None:
        raise UsageError("--classes: the JSON files name the categories, which are the classes; leave it out")
    if not root.is_dir():
        raise FileProblem(f"{root}: no such folder", "missing")
    documents = [_read(place, variant) for place in _places(root, options, variant)]
    classes = _Classes.of(documents, variant)
    mask_of = _drawn if variant == "instances" else _painted
    findings: list[Finding] = []
    pairs = [(found.place.split, pair) for found in documents for pair in _pairs(found, classes, mask_of, findings)]
    refuse_nothing(root, pairs, findings)
    splits, twice = in_splits(pairs)
    return Source(root.resolve().name, str(root), splits, classes.task, findings=[*findings, *twice])


@dataclass(frozen=True)
class PanopticMask:
    """A mask whose colours are the numbers of segments: R + 256 G + 65536 B; the values are class indices.

    Attributes:
        path: the PNG file.
        annotations: the JSON file that lists the segments.
        segments: the number, class index and number of the object (0 where it is none) of each.
        ignore_index: the value where there is no segment.
    """

    path: Path
    annotations: Path
    segments: tuple[tuple[int, int, int], ...]
    ignore_index: int

    def values(self, height: int, width: int) -> Mask:
        """Class indices as the file has them, whatever the image's size: H×W, uint8 where they fit, else int32.

        Raises:
            FileProblem: if the file cannot be read, or holds a segment that the JSON does not list.
        """
        meanings = {number: value for number, value, _ in self.segments}
        dtype = np.uint8 if max([self.ignore_index, *meanings.values()]) <= 255 else np.int32
        return self._mapped({0: self.ignore_index, **meanings}).astype(dtype)

    def instances(self, height: int, width: int) -> Mask | None:
        """The objects, numbered from 1 in the order of the JSON: H×W uint16; raises as `values` does."""
        return self._mapped({0: 0, **{number: instance for number, _, instance in self.segments}}).astype(np.uint16)

    def look(self, height: int, width: int) -> MaskLook:
        """Reads the file in full and says what it holds; raises as `values` does."""
        read_whole(self.path)
        return look_at_values(self.values(height, width))

    def _mapped(self, meanings: Mapping[int, int]) -> Mask:
        colours = colour_values(decode(self.path).image)
        numbers = colours >> 16 | colours & 0xFF00 | (colours & 0xFF) << 16
        known = np.array(sorted(meanings))
        places = np.searchsorted(known, numbers).clip(max=len(known) - 1)
        unknown = numbers[known[places] != numbers]
        if unknown.size:
            raise FileProblem(
                f"{self.path} holds segment {unknown[0]}, which {self.annotations} does not list; export both anew",
                "mask-depth",
            )
        values: Mask = np.array([meanings[number] for number in known.tolist()])[places]
        return values


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

    file_name: str
    size: tuple[int, int] | None
    annotations: Sequence[Json] | None


@dataclass(frozen=True)
class _Document:
    """What a JSON file holds."""

    place: _Place
    images: Sequence[_Image]
    categories: Sequence[Json]


def _places(root: Path, options: Options, variant: str) -> list[_Place]:
    named = root / options.masks
    if named.suffix.lower() == ".json":
        return [_lone(named, root, options)]
    roboflow = {root / folder / _ROBOFLOW: split for folder, split in _ROBOFLOW_SPLITS.items()}
    if found := [_Place(file, split, (file.parent,), ()) for file, split in roboflow.items() if file.is_file()]:
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


def _read(place: _Place, variant: str) -> _Document:
    """Parses a file and sorts its annotations by image."""
    document = read_json(place.file)
    try:
        annotations = document.get("annotations") if place.split == "test" else document["annotations"]
        _refuse_other_kinds(place.file, annotations or (), variant)
        by_image: dict[Any, list[Json]] = defaultdict(list)
        for annotation in annotations or ():
            by_image[annotation["image_id"]].append(annotation)
        images = [
            _Image(str(image["file_name"]), _size(image), None if annotations is None else by_image[image["id"]])
            for image in document["images"]
        ]
        if not images:
            raise ValueError("it lists no images")
        return _Document(place, images, _without_dummy(document["categories"], annotations or ()))
    except MALFORMED as error:
        raise malformed(str(place.file), error) from None


def _size(image: Json) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (int(height), int(width)) if height and width else None


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


@dataclass(frozen=True)
class _Classes:
    """What categories mean.

    Attributes:
        task: the classes.
        index: class index by id of the category.
        things: ids of categories whose segments are single objects.
    """

    task: Task
    index: Mapping[int, int]
    things: frozenset[int]

    @classmethod
    def of(cls, documents: Sequence[_Document], variant: str) -> "_Classes":
        """The categories of all files in the order of their ids; those of one name are one class."""
        names = _category_names(documents)
        ground = ["background"] if variant == "instances" else []
        if ground:
            names = {number: "background" if name.lower() in BACKGROUND else name for number, name in names.items()}
        classes = list(dict.fromkeys([*ground, *names.values()]))
        try:
            check_classes(classes)
        except ValueError as error:
            raise DataError(f"{documents[0].place.file}: its categories make no classes ({error}); add them") from None
        task = Task.of(classes, ignore_index=default_ignore_index(len(classes)))
        listed = [category for document in documents for category in document.categories]
        things = frozenset(category["id"] for category in listed if category.get("isthing", 1))
        found = cls(task, {number: classes.index(name) for number, name in names.items()}, things)
        for document in documents:
            found.refuse_others(document)
        return found

    def refuse_others(self, document: _Document) -> None:
        """Raises DataError for the first annotation of a category that is not listed."""
        for image in document.images:
            for annotation in image.annotations or ():
                for item in annotation.get("segments_info", [annotation]):
                    if item.get("category_id") not in self.index:
                        number = item.get("category_id")
                        raise DataError(
                            f"{document.place.file}: {image.file_name} has an annotation of category {number}, which "
                            f"is not among the categories; list it there, or remove the annotation"
                        )


def _category_names(documents: Sequence[_Document]) -> dict[int, str]:
    """Names by id, in the order of the ids."""
    names: dict[int, str] = {}
    for document in documents:
        for category in document.categories:
            number, name = category["id"], str(category["name"])
            if names.setdefault(number, name) != name:
                raise DataError(
                    f"{document.place.file}: category {number} is {name!r}, but {names[number]!r} in another file; "
                    f"give each category the same id in all files"
                )
    return {number: names[number] for number in sorted(names, key=int)}


def _pairs(
    document: _Document,
    classes: _Classes,
    mask_of: Callable[[_Place, _Image, _Classes], MaskSource],
    findings: list[Finding],
) -> Iterator[Pair]:
    """The images that are there and whose annotations can be used; the others become findings."""
    for image in document.images:
        try:
            name, path = _find_image(image.file_name, document.place)
            mask = None if image.annotations is None else mask_of(document.place, image, classes)
            yield Pair(name, path, mask)
        except FileProblem as problem:
            findings.append(Finding(problem.kind, document.place.file, str(problem)))


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


def _drawn(place: _Place, image: _Image, classes: _Classes) -> DrawnMask:
    """Draws the objects of an image by descending area, so that small ones stay visible."""
    objects: list[DrawnObject] = []
    number = 0
    for annotation in sorted(image.annotations or (), key=_area, reverse=True):
        value = classes.index[annotation["category_id"]]
        single = value > 0 and not annotation.get("iscrowd")
        number += single
        try:
            objects.append(DrawnObject(_shapes(annotation, image.size), value, number if single else 0))
        except MALFORMED as error:
            raise malformed(f"{place.file}: annotation {annotation.get('id')} of {image.file_name}", error) from None
        except FileProblem as problem:
            where = f"{place.file}: annotation {annotation.get('id')} of {image.file_name}"
            raise FileProblem(f"{where} {problem}", problem.kind) from None
    return DrawnMask(place.file, image.file_name, image.size, tuple(objects))


def _area(annotation: Json) -> float:
    area = annotation.get("area")
    return float(area) if isinstance(area, int | float) else 0.0


def _shapes(annotation: Json, size: tuple[int, int] | None) -> tuple[Shape, ...]:
    """What an annotation covers; raises FileProblem, whose message goes on from what it is about."""
    segmentation = annotation.get("segmentation")
    if not segmentation:
        raise FileProblem("has no segmentation; draw its outline, or remove it", "no-mask")
    if isinstance(segmentation, list):
        return tuple(Polygon.of(_points(path)) for path in segmentation)
    height, width = segmentation["size"]
    if size not in {None, (height, width)}:
        raise FileProblem(
            f"has an RLE of {width}×{height}, which is not the image's size; export it anew", "size-mismatch"
        )
    counts = segmentation["counts"]
    lengths = counts if isinstance(counts, list) else run_lengths(counts)
    return (Runs.of(lengths, width, height, by_columns=True),)


def _points(path: Sequence[float]) -> list[tuple[float, float]]:
    if len(path) % 2:
        raise ValueError(f"a polygon has {len(path)} numbers, not two a point")
    return list(zip(path[::2], path[1::2], strict=True))


def _painted(place: _Place, image: _Image, classes: _Classes) -> PanopticMask:
    """The PNG of an image; segments of things that are no crowd are numbered."""
    if not image.annotations:
        raise FileProblem(f"{place.file}: {image.file_name} has no annotation; add it, or remove the image", "no-mask")
    try:
        listed = Path(str(image.annotations[0]["file_name"])).name
        segments: list[tuple[int, int, int]] = []
        number = 0
        for segment in image.annotations[0]["segments_info"]:
            single = segment["category_id"] in classes.things and not segment.get("iscrowd")
            number += single
            value = classes.index[segment["category_id"]]
            segments.append((int(segment["id"]), value, number if single else 0))
    except MALFORMED as error:
        raise malformed(f"{place.file}: {image.file_name}", error) from None
    path = next((folder / listed for folder in place.masks if (folder / listed).is_file()), None)
    if path is None:
        raise FileProblem(f"{place.file} lists {listed}, which is not in {place.masks[0]}; add it there", "missing")
    return PanopticMask(path, place.file, tuple(segments), classes.task.ignore_index)
