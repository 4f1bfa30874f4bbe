"""What every layout gives: a dataset as it was found, before it is looked at, and what was wrong with finding it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segcli.datasets.dataset import Sample
from segcli.datasets.encoding import AS_OPTIONS, Spelling
from segcli.datasets.masks import MaskSource
from segcli.errors import DataError
from segcli.task import Colour, Task

UNDEALT = ""
"""The split of pairs that are still to be dealt to train, val and test."""


SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folders and files of these names are splits."""


@dataclass(frozen=True)
class Finding:
    """Something found."""

    kind: str  # a name in the list of kinds (`check/kinds.py`)
    file: Path  # the file concerned
    message: str  # one line with what, which file and what to do
    detail: tuple[int, ...] = ()  # figures behind it, such as the values of a mask that have no class


@dataclass(frozen=True)
class Pair:
    """An image file and its mask."""

    name: str  # path below the folder, without suffix, with forward slashes
    image: Path
    mask: MaskSource | None  # None as in a test split


@dataclass(frozen=True)
class Options:
    """How to read a source that leaves it open."""

    images: str = "images"  # folder of images below the source
    masks: str = "masks"  # folder of masks, or the annotation file, below the source
    image_name: str = "{name}"  # the stem of an image, with `{name}` for what it has in common with its mask
    mask_name: str = "{name}"
    palette: Mapping[str, Colour] | None = None
    """RGB colour by class name; empty finds the colours in the masks; None where masks hold indices."""
    ratios: Sequence[float] | None = None  # shares of train, val and maybe test, of their sum; None is 0.8 and 0.2
    names: Mapping[str, Path] = field(default_factory=dict)  # by split, a file that lists the names of its images
    group_by: str | None = None  # regular expression; images whose names give the same match stay in one split
    seed: int = 0  # of the split
    classes: Sequence[str] | int | None = None  # names, or their number; None counts them
    ignore_index: int | None = None  # the mask value that is ignored; None is 255 where nothing speaks against it
    value_map: Mapping[int, int] = field(default_factory=dict)  # what other mask values mean
    variant: str | None = None  # which of a layout's variants; None is its first
    spelling: Spelling = AS_OPTIONS  # how to change these options, for messages


@dataclass(frozen=True)
class Source:
    """A dataset as it was found."""

    name: str
    origin: str  # where it lies, for the record
    splits: Mapping[str, Sequence[Pair | Sample]]  # files, or samples that are made; those of UNDEALT are to be dealt
    task: Task | None = None  # its classes; None where the values of the masks tell them
    value_map: Mapping[int, int] = field(default_factory=dict)  # what values in masks mean that are no class indices
    colours: bool = False  # these values are colours (0xRRGGBB)
    findings: Sequence[Finding] = ()  # what was wrong while finding it: files without a partner and the like
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)  # groups of classes, where it has them
    guessed: Sequence[str] = ()  # masks, as SPLIT/NAME, whose values `seg dataset check --fix` had to guess


@dataclass(frozen=True)
class Layout:
    """A layout."""

    name: str  # as on the command line
    find: Callable[[Path, Options], Source]  # the source at a folder
    mark: Sequence[str] = ()  # paths of which one below a folder says that it is laid out so; empty where nothing does
    open: bool = False  # whether classes and splits are left open, so that options say them
    variants: Sequence[str] = ()  # what `--variant` may name; the first is the default
    needs_folder: bool = True  # whether it lies in a folder at all

    def fits(self, root: Path) -> bool:
        """Whether a folder looks like this layout."""
        return any(next(iter(root.glob(mark)), None) is not None for mark in self.mark)


def those_there(
    root: Path, splits: Mapping[str, tuple[Sequence[Pair], Sequence[Finding]]], where: str
) -> tuple[dict[str, Sequence[Pair]], list[Finding]]:
    """The splits of which pairs are on disk, with their findings, and one for train or val where that is not there.

    Findings of a split without pairs do not count; where its files were sought (`where`) is said then.

    Raises:
        DataError: if neither train nor val is there.
    """
    none: tuple[Sequence[Pair], Sequence[Finding]] = ((), ())
    missing = [split for split in ("train", "val") if not splits.get(split, none)[0]]
    findings = [finding for pairs, found in splits.values() if pairs for finding in found]
    for split in missing:
        first = next((finding.message for finding in splits.get(split, none)[1]), where)
        if len(missing) == 2:
            raise DataError(f"{root} holds neither train nor val: {first}")
        use = "evaluated on, not trained on" if split == "train" else "trained on with another val split only"
        findings.append(Finding("no-split", root, f"{root} holds no {split} split ({first}); it can be {use}"))
    return {split: pairs for split, (pairs, _) in splits.items() if pairs}, findings
