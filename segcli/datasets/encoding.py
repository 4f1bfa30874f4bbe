"""What the values in masks mean, where nobody has said it: as many classes as the values ask for."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segcli.datasets.dataset import MaskEncoding
from segcli.errors import FileProblem
from segcli.task import Colour, Task, default_ignore_index

Classes = Sequence[str] | int | None

_RARE = 0.005  # share of a mask's pixels below which a value may be noise
_BLUR = 16  # how far compression may move a value
_OFTEN = 0.1  # share of the masks holding a value in which it must not be rare
_MOST_DENSE = 200  # values without a gap from which on they may be noise all the same
_CLUTTER = 8  # rare values in one mask from which they look like noise


@dataclass(frozen=True)
class MaskValues:
    """The values of one mask.

    Attributes:
        file: the mask.
        pixels: by value.
        lossy: it is stored in a format that changes values.
    """

    file: Path
    pixels: Mapping[int, int]
    lossy: bool = False

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


def looks_lossy(mask: MaskValues, strange: Sequence[int]) -> bool:
    """Whether the values without a class look like noise rather than like a class that nobody named."""
    share = sum(mask.pixels[value] for value in strange) / max(sum(mask.pixels.values()), 1)
    return mask.lossy or (len(strange) >= _CLUTTER and share <= 0.25)


def infer_encoding(
    masks: Sequence[MaskValues],
    classes: Classes,
    palette: Sequence[Colour] | None,
    ignore_index: int | None,
    value_map: Mapping[int, int],
) -> MaskEncoding:
    """What the values in masks mean: the given classes, or as many as the values ask for.

    A value without a class is no error here: `MaskEncoding.meaning` knows none for it.

    Raises:
        FileProblem: if what 255 means is open, or the values make no classes.
    """
    example = _sound_values(masks)
    if ignore_index is None and not value_map:
        _refuse_ambiguous(example)
    meanings = {value_map.get(value, value) for value in example}
    ignored = _ignored(ignore_index, classes, meanings)
    names = _class_names(classes, meanings - {ignored}, example)
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
    return MaskEncoding(Task.of(names, palette, ignored), value_map)


def _sound_values(masks: Sequence[MaskValues]) -> dict[int, Path]:
    """The values that are no noise of compression and no slip in a single mask, each with a file that holds it.

    Indices without a gap are all sound, however rare; noise leaves gaps, or fills the whole range of a byte.
    """
    held = {value: mask.file for mask in reversed([mask for mask in masks if not mask.lossy] or masks)
            for value in mask.pixels}  # fmt: skip
    indices = held.keys() - {255, 65535}
    if indices == set(range(len(indices))) and len(held) <= _MOST_DENSE and not all(mask.lossy for mask in masks):
        return held
    trusted: dict[int, Path] = {}
    large: dict[int, Path] = {}
    holders, large_holders = Counter[int](), Counter[int]()
    for mask in reversed([mask for mask in masks if not mask.lossy] or masks):
        holders.update(mask.pixels.keys())
        large_holders.update(mask.large())
        large.update(dict.fromkeys(mask.large(), mask.file))
        if not mask.cluttered():
            trusted.update(dict.fromkeys(mask.pixels, mask.file))
    often_large = {value for value in large if large_holders[value] >= _OFTEN * holders[value]}
    sound = {value: file for value, file in (large | trusted).items() if value in trusted or value in often_large}
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


def _refuse_ambiguous(example: Mapping[int, Path]) -> None:
    others = sorted(set(example) - {255})
    if 255 in example and len(others) <= 1:
        held = f"only {others[0]} and 255" if others else "only 255"
        raise FileProblem(
            f"the masks hold {held} (as in {example[255]}), and 255 could be a class or ignored. Say which: "
            f"`dataset.map: {{255: 1}}` (or --map 255=1) makes it class 1, `dataset.ignore_index: 255` "
            f"(or --ignore-index 255) ignores it",
            "ambiguous",
        )


def _class_names(classes: Classes, indices: set[int], example: Mapping[int, Path]) -> Sequence[str]:
    if isinstance(classes, Sequence):
        return classes
    if classes is not None:
        return [f"class_{index}" for index in range(classes)]
    largest = max(indices, default=0)
    if largest > 1 and largest >= 4 * len(indices):
        raise FileProblem(
            f"the masks hold {len(indices)} values up to {largest} (as in {example.get(largest)}), which are no "
            f"indices 0…C-1. Give `dataset.classes`, and `dataset.map` for what the values mean.",
            "classes",
        )
    if largest < 1:
        raise FileProblem(
            "the masks hold a single class; a segmentation needs at least two, background included", "classes"
        )
    return [f"class_{index}" for index in range(largest + 1)]
