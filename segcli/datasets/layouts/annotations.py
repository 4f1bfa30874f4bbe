"""Labelled shapes, as annotation tools write them: what their formats have in common."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any
from unicodedata import normalize

from segcli.datasets.layouts.base import SPLIT_NAMES, UNDEALT, Finding, Options, Pair, Source
from segcli.datasets.layouts.pairing import is_plain, odd_name
from segcli.datasets.layouts.rasterise import DrawnMask, DrawnObject, Shape
from segcli.errors import DataError, FileProblem, UsageError, did_you_mean
from segcli.io.files import walk
from segcli.io.images import find_images
from segcli.task import Task, check_classes, default_ignore_index

BACKGROUND = {"background", "_background_", "__background__"}
"""Labels of what is no object."""
IGNORED = {"__ignore__"}
"""Labels of what counts nowhere."""

MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What reading an annotation raises that is not built as its format says."""


@dataclass(frozen=True)
class Region:
    """A labelled part of an image.

    Attributes:
        label: as the annotation calls it.
        shapes: what it covers, together.
        group: regions of one label and group are one object; None makes it an object by itself.
    """

    label: str
    shapes: tuple[Shape, ...]
    group: str | None = None


@dataclass(frozen=True)
class Annotated:
    """An image with its regions.

    Attributes:
        name: of the pair: path without suffix, and without the folder that names the split.
        split: UNDEALT where nothing names one.
        image: the image file.
        file: the annotation file.
        size: height and width that the annotation states; None where it states none.
        regions: in drawing order.
    """

    name: str
    split: str
    image: Path
    file: Path
    size: tuple[int, int] | None
    regions: tuple[Region, ...]


def as_source(
    root: Path, found: Sequence[Annotated], findings: Sequence[Finding], options: Options, order: Sequence[str] = ()
) -> Source:
    """The source of annotated images.

    Args:
        root: the folder.
        found: the images.
        findings: what was wrong with others.
        options: names the classes, or leaves it to the labels.
        order: labels in the order of the classes; others follow, sorted.

    Raises:
        DataError: if there are no images, the labels make no classes, or only some images lie in splits.
        UsageError: if the options name no classes.
    """
    refuse_nothing(root, found, findings)
    labels = list(dict.fromkeys(region.label for annotated in found for region in annotated.regions))
    classes = _Classes.of(root, labels, order, options)
    findings = [*findings, *_unknown_labels(found, classes)]
    pairs = [(item.split, Pair(item.name, item.image, _draw(item, classes))) for item in found]
    splits, twice = in_splits(pairs)
    if UNDEALT in splits and len(splits) > 1:
        named = " and ".join(split for split in splits if split != UNDEALT)
        raise DataError(
            f"{root}: {len(splits[UNDEALT])} images, such as {splits[UNDEALT][0].image}, lie in no split, but others "
            f"lie in {named}; move all into train, val and maybe test, or none"
        )
    return Source(root.resolve().name, str(root), splits, classes.task, findings=[*findings, *twice])


def refuse_nothing(root: Path, found: Sequence[object], findings: Sequence[Finding]) -> None:
    """Raises DataError where there are findings, but nothing else."""
    if findings and not found:
        reasons = f"for {len(findings)} reasons; the first" if len(findings) > 1 else "for this reason"
        raise DataError(f"{root}: no image can be used, {reasons}: {findings[0].message}")


def in_splits(pairs: Iterable[tuple[str, Pair]]) -> tuple[dict[str, list[Pair]], list[Finding]]:
    """Pairs by split, each in the order of names; of several of one name the first is kept, the others are found."""
    splits: dict[str, dict[str, Pair]] = {}
    findings = []
    for split, pair in pairs:
        if not is_plain(pair.name):
            findings.append(odd_name(pair.image))
            continue
        kept = splits.setdefault(split, {}).setdefault(pair.name, pair)
        if kept is not pair:
            message = f"{pair.image} and {kept.image} have the same name {pair.name}; rename one, or annotate it once"
            findings.append(Finding("same-stem", pair.image, message))
    return {split: [named[name] for name in sorted(named)] for split, named in splits.items()}, findings


def split_of(*parts: str) -> str:
    """The split that the first telling one of these names says; UNDEALT where none does."""
    return next((SPLIT_NAMES[part.lower()] for part in parts if part.lower() in SPLIT_NAMES), UNDEALT)


def plain_name(path: PurePath) -> str:
    """A pair's name from the path of its image: without suffix and steps upward."""
    return normalize("NFC", "/".join(part for part in path.with_suffix("").parts if part not in {"..", path.anchor}))


def name_in_split(path: PurePath) -> str:
    """A pair's name from a path: without suffix, steps upward and folders that name splits."""
    return plain_name(PurePath(*(part for part in path.parts[:-1] if not split_of(part)), path.name))


def files_below(root: Path, suffix: str) -> list[Path]:
    """The files of a suffix below a folder, in the order of the paths; raises as `walk` does."""
    return [path for path in walk(root) if path.suffix.lower() == suffix and path.is_file()]


def read_json(file: Path) -> Any:
    """Parses a JSON file.

    Raises:
        FileProblem: if it is not there or no JSON.
    """
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise FileProblem(f"{file}: {error.strerror or error}", "missing") from None
    except ValueError as error:
        raise FileProblem(f"{file} is no JSON: {error}; export it anew", "damaged") from None


def malformed(what: str, error: Exception) -> FileProblem:
    """The problem of an annotation whose reading raised one of MALFORMED."""
    detail = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return FileProblem(f"{what} is not built as its format says: {detail}; export it anew", "damaged")


class ImageFinder:
    """Finds the images that annotations name, below a folder."""

    def __init__(self, root: Path, options: Options) -> None:
        self._root = root
        self._images = options.images

    def find(self, beside: Path, *names: str) -> Path | None:
        """The first of the names that is there: beside, below the folder of images, or as the only one so called.

        Args:
            beside: folder that comes first.
            names: relative paths as the annotation has them, with slashes or backslashes.
        """
        folders = [path for folder in (beside, self._root) for path in (folder / self._images, folder)]
        paths = [Path(name.replace("\\", "/")) for name in names]
        last = Path(paths[-1].name)
        tried = (folder / path for path in (*paths, last) for folder in folders)
        return next((path for path in tried if path.is_file()), None) or self._by_file_name.get(
            normalize("NFC", last.name)
        )

    @cached_property
    def _by_file_name(self) -> dict[str, Path]:
        folder = self._root / self._images
        images = find_images(folder if folder.is_dir() else self._root)
        number = Counter(normalize("NFC", image.name) for image in images)
        return {name: image for image in images if number[name := normalize("NFC", image.name)] == 1}


@dataclass(frozen=True)
class _Classes:
    """What labels mean.

    Attributes:
        task: the classes.
        ground: the value where nothing is drawn.
    """

    task: Task
    ground: int

    @classmethod
    def of(cls, root: Path, labels: Sequence[str], order: Sequence[str], options: Options) -> "_Classes":
        """The classes that the options name, else background and the labels.

        Where no class is called background, the ground is the first class, unless that is itself drawn.
        """
        if isinstance(options.classes, int):
            raise UsageError(f"--classes {options.classes}: give names; the annotations go by names, not numbers")
        names = _class_names(labels, order) if options.classes is None else [*options.classes]
        names = [name for name in names if name not in IGNORED]
        try:
            check_classes(names)
        except ValueError as error:
            if options.classes is not None:
                raise UsageError(f"--{error}") from None
            raise DataError(f"{root}: the labels make no classes ({error}); name them with --classes") from None
        task = Task.of(names, ignore_index=default_ignore_index(len(names)))
        grounds = [index for index, name in enumerate(names) if name.lower() in BACKGROUND]
        return cls(task, grounds[0] if grounds else task.ignore_index if names[0] in labels else 0)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.task.classes)}

    def meaning(self, label: str) -> int | None:
        """The class index (or the ignore index) of a label; None where it has none."""
        if label in IGNORED:
            return self.task.ignore_index
        return self._index.get(label, self.ground if label.lower() in BACKGROUND else None)


def _class_names(labels: Sequence[str], order: Sequence[str]) -> list[str]:
    named = dict.fromkeys([*order, *sorted(labels)])
    return ["background", *(label for label in named if label.lower() not in BACKGROUND)]


def _unknown_labels(found: Sequence[Annotated], classes: _Classes) -> Iterator[Finding]:
    for annotated in found:
        for label in dict.fromkeys(region.label for region in annotated.regions):
            if classes.meaning(label) is None:
                message = (
                    f"{annotated.file} has the label {label!r}, which is no class "
                    f"({did_you_mean(label, classes.task.classes)}); add it to --classes, or label it anew"
                )
                yield Finding("unknown-values", annotated.file, message)


def _draw(annotated: Annotated, classes: _Classes) -> DrawnMask:
    """The mask of an image: objects are numbered in drawing order; a label without a class is ignored."""
    numbers: dict[tuple[str, str | int], int] = {}
    objects = []
    for place, region in enumerate(annotated.regions):
        meaning = classes.meaning(region.label)
        value = classes.task.ignore_index if meaning is None else meaning
        number = 0
        if value not in {classes.ground, classes.task.ignore_index}:
            key = (region.label, place if region.group is None else region.group)
            number = numbers.setdefault(key, len(numbers) + 1)
        objects.append(DrawnObject(region.shapes, value, number))
    return DrawnMask(annotated.file, annotated.image.name, annotated.size, tuple(objects), classes.ground)


def missing_image(file: Path, name: str) -> FileProblem:
    """The problem of an annotation without its image."""
    return FileProblem(
        f"{file} annotates {name}, which is not there; add the image or remove its annotation", "missing"
    )
