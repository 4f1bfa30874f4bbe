"""Labelled shapes, as annotation tools write them: what their formats have in common."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import Any
from unicodedata import normalize

from segcli.datasets.layouts.base import SPLIT_NAMES, UNDEALT, Finding, Options, Pair, Source
from segcli.datasets.layouts.pairing import is_plain, odd_name
from segcli.datasets.layouts.rasterise import DrawnMask, DrawnObject, PaintedMask, Shape
from segcli.datasets.masks import MaskSource
from segcli.errors import DataError, FileProblem, UsageError, did_you_mean
from segcli.io.files import walk
from segcli.io.images import find_images
from segcli.task import BACKGROUND_LABELS, Task, check_classes, default_ignore_index

IGNORED = {"__ignore__"}
"""Labels of what counts nowhere."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Region:
    """A labelled part of an image: shapes that cover it together, or a segment of a painting."""

    label: str
    shapes: tuple[Shape, ...] = ()
    group: str | None = None  # regions of one label and group are one object; None makes it an object by itself
    single: bool = True  # whether it is an object at all, and no crowd or the like
    segment: int = 0  # its number in the painting


@dataclass(frozen=True)
class Annotated:
    """An image with its regions."""

    name: str  # of the pair: path without suffix, and without the folder that names the split
    split: str  # UNDEALT where nothing names one
    image: Path
    file: Path  # the annotation file
    size: tuple[int, int] | None  # height and width that the annotation states
    regions: Sequence[Region] | None  # in drawing order; None where nobody has annotated the image, as in a test split
    painting: Path | None = None  # the file in which the regions are painted by their numbers, instead of being drawn

    @classmethod
    def of(
        cls,
        path: PurePath,
        tell: Iterable[str],
        image: Path,
        file: Path,
        size: tuple[int, int] | None,
        regions: Sequence[Region],
    ) -> "Annotated":
        """An image called by a path without the folders that name splits; the first of `tell` that is one is its."""
        folders = (part for part in path.parts[:-1] if not _split_of(part))
        return cls(plain_name(PurePath(*folders, path.name)), _split_of(*tell), image, file, size, regions)


def gather(
    items: Iterable[tuple[Path, str, Callable[[], Annotated | None]]],
) -> tuple[list[Annotated], list[Finding]]:
    """Reads annotations, each of a file, so called in messages, by a function that gives None for other formats.

    Those that cannot be used become findings.
    """
    found, findings = [], []
    for file, what, read in items:
        try:
            with parsing(what):
                annotated = read()
        except FileProblem as problem:
            findings.append(Finding(problem.kind, file, str(problem)))
        else:
            found += [] if annotated is None else [annotated]
    return found, findings


def json_source(
    root: Path, options: Options, read: Callable[[Json, Path, "ImageFinder"], Annotated | None], what: str
) -> Source:
    """The source of JSON files anywhere below a folder, one an image; `read` gives None for files of other formats.

    Raises:
        DataError: if there is none, with what these files are and how to come by them; else as `as_source` does.
    """
    images = ImageFinder(root, options)

    def annotated(file: Path) -> Annotated | None:
        document = read_json(file)
        return read(document, file, images) if isinstance(document, dict) else None

    found, findings = gather((file, str(file), partial(annotated, file)) for file in files_below(root, ".json"))
    if not found and not findings:
        raise DataError(f"{root} holds no {what}")
    return as_source(root, found, findings, options)


@contextmanager
def parsing(what: str) -> Iterator[None]:
    """Raises FileProblem where an annotation is not built as its format says."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        detail = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        message = f"{what} is not built as its format says: {detail}; export it anew"
        raise FileProblem(message, "damaged") from None


def as_source(
    root: Path,
    found: Sequence[Annotated],
    findings: Sequence[Finding],
    options: Options,
    order: Sequence[str] = (),
    background: bool = True,
) -> Source:
    """The source of annotated images, with the findings of others.

    Classes that the options do not name are the labels in the given order, others behind them, sorted. What no region
    covers is a class of its own where there is a background, else it is ignored.

    Raises:
        DataError: if there are no images, the labels make no classes, or only some images lie in splits.
        UsageError: if the options name no classes.
    """
    if findings and not found:
        reasons = f"for {len(findings)} reasons; the first" if len(findings) > 1 else "for this reason"
        raise DataError(f"{root}: no image can be used, {reasons}: {findings[0].message}")
    labels = list(dict.fromkeys(region.label for annotated in found for region in annotated.regions or ()))
    classes = _Classes.of(root, labels, order, options, background)
    splits, twice = _in_splits((item.split, Pair(item.name, item.image, _draw(item, classes))) for item in found)
    if UNDEALT in splits and len(splits) > 1:
        named = " and ".join(split for split in splits if split != UNDEALT)
        raise DataError(
            f"{root}: {len(splits[UNDEALT])} images, such as {splits[UNDEALT][0].image}, lie in no split, but others "
            f"lie in {named}; move all into train, val and maybe test, or none"
        )
    findings = [*findings, *_unknown_labels(found, classes), *twice]
    return Source(root.resolve().name, str(root), splits, classes.task, findings=findings)


def _in_splits(pairs: Iterable[tuple[str, Pair]]) -> tuple[dict[str, list[Pair]], list[Finding]]:
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


def _split_of(*parts: str) -> str:
    """The split that the first telling one of these names says; UNDEALT where none does."""
    return next((SPLIT_NAMES[part.lower()] for part in parts if part.lower() in SPLIT_NAMES), UNDEALT)


def plain_name(path: PurePath) -> str:
    """A pair's name from the path of its image: without suffix and steps upward."""
    return normalize("NFC", "/".join(part for part in path.with_suffix("").parts if part not in {"..", path.anchor}))


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


def stated_size(values: Json) -> tuple[int, int] | None:
    """The height and width that an annotation states; None where it states none."""
    height, width = values.get("height"), values.get("width")
    return (int(height), int(width)) if height and width else None


class ImageFinder:
    """Finds the images that annotations name, below a folder."""

    def __init__(self, root: Path, options: Options) -> None:
        self.root = root
        self._images = options.images

    def find(self, file: Path, *names: str, problem: str = "") -> Path:
        """The first of the names that is there: beside, below the folder of images, or as the only one so called.

        Args:
            file: the annotation, beside which is sought first.
            names: relative paths as the annotation has them, with slashes or backslashes.
            problem: what to say where there is none.

        Raises:
            FileProblem: if none is there.
        """
        folders = [path for folder in (file.parent, self.root) for path in (folder / self._images, folder)]
        paths = [Path(name.replace("\\", "/")) for name in names]
        tried = (folder / path for path in (*paths, Path(paths[0].name)) for folder in folders)
        found = next((path for path in tried if path.is_file()), None)
        found = found or self._by_file_name.get(normalize("NFC", paths[0].name))
        if found is None:
            problem = problem or f"annotates {names[0]}, which is not there; add the image or remove its annotation"
            raise FileProblem(f"{file} {problem}", "missing")
        return found

    @cached_property
    def _by_file_name(self) -> dict[str, Path]:
        folder = self.root / self._images
        images = find_images(folder if folder.is_dir() else self.root)
        number = Counter(normalize("NFC", image.name) for image in images)
        return {name: image for image in images if number[name := normalize("NFC", image.name)] == 1}


@dataclass(frozen=True)
class _Classes:
    """What labels mean."""

    task: Task
    ground: int  # the value where nothing is drawn

    @classmethod
    def of(
        cls, root: Path, labels: Sequence[str], order: Sequence[str], options: Options, background: bool
    ) -> "_Classes":
        """The classes that the options name, else background (if it is one) and the labels.

        Where no class is called background, the ground is the first class, unless that is itself drawn.
        """
        if isinstance(options.classes, int):
            raise UsageError(f"--classes {options.classes}: give names; the annotations go by names, not numbers")
        names = _class_names(labels, order, background) if options.classes is None else [*options.classes]
        names = [name for name in names if name not in IGNORED]
        try:
            check_classes(names)
        except ValueError as error:
            if options.classes is not None:
                raise UsageError(f"--{error}") from None
            raise DataError(f"{root}: the labels make no classes ({error}); name them with --classes") from None
        task = Task.of(names, ignore_index=default_ignore_index(len(names)))
        grounds = [index for index, name in enumerate(names) if name.lower() in BACKGROUND_LABELS]
        first = task.ignore_index if names[0] in labels or not background else 0
        return cls(task, grounds[0] if grounds and background else first)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.task.classes)}

    def meaning(self, label: str) -> int | None:
        """The class index (or the ignore index) of a label; None where it has none."""
        if label in IGNORED:
            return self.task.ignore_index
        return self._index.get(label, self.ground if label.lower() in BACKGROUND_LABELS else None)


def _class_names(labels: Sequence[str], order: Sequence[str], background: bool) -> list[str]:
    named = dict.fromkeys([*order, *sorted(labels)])
    objects = [label for label in named if label.lower() not in BACKGROUND_LABELS]
    return ["background", *objects] if background else [*named]


def _unknown_labels(found: Sequence[Annotated], classes: _Classes) -> Iterator[Finding]:
    for annotated in found:
        for label in dict.fromkeys(region.label for region in annotated.regions or ()):
            if classes.meaning(label) is None:
                message = (
                    f"{annotated.file} has the label {label!r}, which is no class "
                    f"({did_you_mean(label, classes.task.classes)}); add it to --classes, or label it anew"
                )
                yield Finding("unknown-values", annotated.file, message)


def _draw(annotated: Annotated, classes: _Classes) -> MaskSource | None:
    """The mask of an image: objects are numbered in drawing order; a label without a class is ignored."""
    if annotated.regions is None:
        return None
    numbers: dict[tuple[str, str | int], int] = {}
    objects = []
    for place, region in enumerate(annotated.regions):
        meaning = classes.meaning(region.label)
        value = classes.task.ignore_index if meaning is None else meaning
        number = 0
        if region.single and value not in {classes.ground, classes.task.ignore_index}:
            key = (region.label, place if region.group is None else region.group)
            number = numbers.setdefault(key, len(numbers) + 1)
        objects.append(DrawnObject(region.shapes, value, number, region.segment))
    if annotated.painting is not None:
        return PaintedMask(annotated.painting, annotated.file, tuple(objects), classes.ground)
    return DrawnMask(annotated.file, annotated.image.name, annotated.size, tuple(objects), classes.ground)
