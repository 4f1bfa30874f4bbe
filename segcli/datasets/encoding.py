"""What the values in masks mean: class indices, told, or found as many as the values ask for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segcli.errors import FileProblem
from segcli.io.images import Mask
from segcli.task import Colour, Task, default_ignore_index

Classes = Sequence[str] | int | None

_RARE = 0.005  # share of a mask's pixels below which a value may be noise
_BLUR = 16  # how far compression may move a value
_OFTEN = 0.1  # share of the masks holding a value in which it must not be rare
_MOST_DENSE = 200  # values without a gap from which on they may be noise all the same
_CLUTTER = 8  # rare values in one mask from which they look like noise
_FAR = 32  # between values that compression and smoothing do not confuse


@dataclass(frozen=True)
class Spelling:
    """How whoever reads a message can say what the values in masks mean; all empty where there is no way to."""

    classes: str = ""  # names them
    value_map: str = ""  # gives a value a meaning, with `{value}` and `{index}`
    ignore_index: str = ""  # has a `{value}` ignored


IN_CONFIG = Spelling("`dataset.classes`", "`dataset.map: {{{value}: {index}}}`", "`dataset.ignore_index: {value}`")
AS_OPTIONS = Spelling("--classes", "--map {value}={index}", "--ignore-index {value}")
NOWHERE = Spelling()


@dataclass(frozen=True)
class MaskEncoding:
    """Turns the values of masks into class indices, and refuses the values that no class has."""

    task: Task
    value_map: Mapping[int, int] = field(default_factory=dict)  # what other values mean
    colours: bool = False  # the values are colours (0xRRGGBB), of which only those in the map mean something
    guessed: bool = False  # nobody named the classes; they were counted
    spelling: Spelling = NOWHERE

    @property
    def dtype(self) -> Any:
        """The narrowest type that holds every class index and the ignore index."""
        return np.uint8 if max(self.task.num_classes - 1, self.task.ignore_index) <= 255 else np.int32

    def encode(self, values: Mask, source: Path) -> Mask:
        """Maps a mask (H×W) to class indices.

        Raises:
            FileProblem: naming the file and the values that mean nothing.
        """
        known, indices = self._tables
        if not _look_up(values, known).all():
            strange = [value for value in np.unique(values).tolist() if self.meaning(value) is None]
            raise FileProblem(unknown_values(source, strange, self), "unknown-values")
        return _look_up(values, indices)

    def meaning(self, value: int) -> int | None:
        """The class index (or the ignore index) of a value; None where it has none."""
        index = self.value_map.get(value, -1 if self.colours else value)
        return index if index == self.task.ignore_index or 0 <= index < self.task.num_classes else None

    def known_values(self) -> list[int]:
        """The values that mean something, sorted; where 255 means class 1, a 1 is noise."""
        indices = () if self.colours else (*range(self.task.num_classes), self.task.ignore_index)
        return sorted({*self.value_map, *indices} - (set(self.value_map.values()) - self.value_map.keys()))

    def tells_apart(self) -> bool:
        """Whether its values lie so far apart, such as 0 and 255, that one can guess what a changed value was."""
        return not self.colours and all(b - a >= _FAR for a, b in pairwise(self.known_values()))

    def count_classes(self, values: Mapping[int, int]) -> list[int]:
        """Pixels of each class, from pixels by value; those without a class count nowhere."""
        pixels = [0] * self.task.num_classes
        for value, count in values.items():
            index = self.meaning(value)
            if index is not None and index != self.task.ignore_index:
                pixels[index] += count
        return pixels

    def classes_among(self, values: Mapping[int, int]) -> tuple[int, ...]:
        """The classes of a mask, from its pixels by value."""
        return tuple(index for index, count in enumerate(self.count_classes(values)) if count)

    def count_ignored(self, values: Mapping[int, int]) -> int:
        """Pixels that are ignored, from pixels by value."""
        return sum(count for value, count in values.items() if self.meaning(value) == self.task.ignore_index)

    @cached_property
    def _tables(self) -> tuple[Mask, Mask]:
        """By value, whether it means something, and what; the last row stands for all values beyond."""
        values = {*self.value_map, *(() if self.colours else {*range(self.task.num_classes), self.task.ignore_index})}
        known = np.zeros(max(255, *values) + 2, np.uint8)
        indices = np.zeros(len(known), self.dtype)
        for value in values:
            if (meaning := self.meaning(value)) is not None:
                known[value], indices[value] = 1, meaning
        return known, indices

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_tables"}


def _look_up(values: Mask, table: Mask) -> Mask:
    """The rows of a table at these places; OpenCV is ten times as fast as NumPy where they are bytes."""
    return cv2.LUT(values, table[:256]) if values.dtype == np.uint8 else table.take(values, mode="clip")


def unknown_values(source: Path, values: Sequence[int], encoding: MaskEncoding) -> str:
    """The message for mask values that no class has."""
    names = [f"#{value:06x}" if encoding.colours else str(value) for value in values[:8]]
    shown = ", ".join(names) + (", …" if len(values) > 8 else "")
    if encoding.colours:
        return f"{source} holds {shown}, which the palette does not list; add a line for it, or mend the mask."
    task, say = encoding.task, encoding.spelling.value_map.format(value=values[0], index="CLASS")
    if encoding.guessed:
        held = f"but the classes, which nobody named, were counted as 0…{task.num_classes - 1}"
        return f"{source} holds {shown}, {held}. Name them with {encoding.spelling.classes}, or mend the mask."
    held = f"but classes run 0…{task.num_classes - 1} and {task.ignore_index} is ignored"
    return f"{source} holds {shown}, {held}. {f'Say what it means with {say}, or mend' if say else 'Mend'} the mask."


@dataclass(frozen=True)
class MaskValues:
    """The values of one mask."""

    file: Path
    pixels: Mapping[int, int]  # by value
    lossy: bool = False  # it is stored in a format that changes values

    def rare(self) -> set[int]:
        """Values that few of its pixels hold."""
        total = sum(self.pixels.values())
        return {value for value, count in self.pixels.items() if count < _RARE * total}

    def large(self) -> set[int]:
        """Values that many of its pixels hold; of a lossy mask those that outnumber their neighbours."""
        frequent = self.pixels.keys() - self.rare()
        if not self.lossy:
            return frequent
        return {
            value
            for value in frequent
            if self.pixels[value] == max(self.pixels[other] for other in frequent if abs(other - value) <= _BLUR)
        }

    def cluttered(self) -> bool:
        """Whether it looks JPEG-compressed or anti-aliased: many values of 8 bits on few pixels."""
        deep = any(255 < value < 65535 for value in self.pixels)
        return self.lossy or (not deep and len(self.rare()) >= _CLUTTER)


def looks_lossy(mask: MaskValues, strange: Sequence[int], encoding: MaskEncoding) -> bool:
    """Whether values without a class are noise: those of a format that changes values, or of smoothed edges.

    Edges are smoothed where somebody named the classes, and many odd values lie on few pixels between far ones.
    """
    if mask.lossy or encoding.guessed or not encoding.tells_apart():
        return mask.lossy
    known, share = encoding.known_values(), sum(map(mask.pixels.__getitem__, strange)) / sum(mask.pixels.values())
    between = known[0] <= min(strange) and max(strange) <= known[-1]
    return between and len(strange) >= _CLUTTER and share <= 0.25


def infer_encoding(
    masks: Sequence[MaskValues],
    classes: Classes,
    palette: Sequence[Colour] | None,
    ignore_index: int | None,
    value_map: Mapping[int, int],
    spelling: Spelling = NOWHERE,
) -> MaskEncoding:
    """What the values in masks mean: the given classes, or as many as the values ask for.

    A value without a class is no error here: `MaskEncoding.meaning` knows none for it.

    Raises:
        FileProblem: if what 255 means is open, or the values make no classes.
    """
    example = _sound_values(masks)
    if ignore_index is None and not value_map:
        _refuse_ambiguous(example, spelling)
    meanings = {value_map.get(value, value) for value in example}
    ignored = _ignored(ignore_index, classes, meanings)
    names = _class_names(classes, meanings - {ignored}, example, spelling)
    if ignored < len(names):
        raise FileProblem(
            f"ignore_index {ignored} is also the index of class {names[ignored]!r}; map the ignored value "
            f"elsewhere, as in `map: {{{ignored}: 255, …}}`, with the classes behind it moved down",
            "classes",
        )
    if palette is not None and len(palette) != len(names):
        raise FileProblem(
            f"the palette has {len(palette)} colours for {len(names)} classes; give one a class", "classes"
        )
    return MaskEncoding(Task.of(names, palette, ignored), value_map, guessed=classes is None, spelling=spelling)


def _sound_values(masks: Sequence[MaskValues]) -> dict[int, Path]:
    """The values that are no noise of compression and no slip in a single mask, each with a file that holds it.

    Indices without a gap are all sound, however rare; noise leaves gaps, or fills the whole range of a byte.
    """
    lossless = [mask for mask in masks if not mask.lossy]
    telling = lossless or masks
    held = {value: mask.file for mask in reversed(telling) for value in mask.pixels}
    indices = held.keys() - {255, 65535}
    if lossless and indices == set(range(len(indices))) and len(held) <= _MOST_DENSE:
        return held
    holders = Counter(value for mask in telling for value in mask.pixels)
    large = Counter(value for mask in telling for value in mask.large())
    trusted = {value for mask in telling if not mask.cluttered() for value in mask.pixels}
    trusted |= {value for value, number in large.items() if number >= _OFTEN * holders[value]}
    sound = {value: file for value, file in held.items() if value in trusted}
    common = {value for value in sound if holders[value] > 1}
    indices = common - {255, 65535}
    if len(masks) >= _CLUTTER and indices == set(range(len(indices))):
        likely = 2 * len(indices) + 1  # a class that a single mask holds; a value far beyond is a slip
        return {value: file for value, file in sound.items() if value in common or value <= likely}
    return sound


def _ignored(ignore_index: int | None, classes: Classes, meanings: set[int]) -> int:
    if ignore_index is not None:
        return ignore_index
    if classes is None:
        return default_ignore_index(256 if max(meanings - {65535}, default=0) > 255 else 1)
    return default_ignore_index(classes if isinstance(classes, int) else len(classes))


def _refuse_ambiguous(example: Mapping[int, Path], spelling: Spelling) -> None:
    others = sorted(set(example) - {255})
    if 255 in example and len(others) <= 1:
        held = f"only {others[0]} and 255" if others else "only 255"
        as_class, ignored = spelling.value_map.format(value=255, index=1), spelling.ignore_index.format(value=255)
        say = f"Say which: {as_class} makes it class 1, {ignored} ignores it" if as_class else "Write class indices"
        message = f"the masks hold {held} (as in {example[255]}), and 255 could be a class or ignored. {say}"
        raise FileProblem(message, "ambiguous")


def _class_names(classes: Classes, indices: set[int], example: Mapping[int, Path], spelling: Spelling) -> Sequence[str]:
    if isinstance(classes, Sequence):
        return classes
    if classes is not None:
        return [f"class_{index}" for index in range(classes)]
    largest = max(indices, default=0)
    if largest > 1 and largest >= 4 * len(indices):
        raise FileProblem(
            f"the masks hold {len(indices)} values up to {largest} (as in {example.get(largest)}), which are no "
            f"indices 0…C-1. Name the classes with {spelling.classes}, and say what each value means, as "
            f"{spelling.value_map.format(value=largest, index='CLASS')}.",
            "classes",
        )
    if largest < 1:
        raise FileProblem(
            "the masks hold a single class; a segmentation needs at least two, background included", "classes"
        )
    return [f"class_{index}" for index in range(largest + 1)]
