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
    """How to read a source that leaves it open.

    Attributes:
        images: folder of images below the source.
        masks: folder of masks, or the annotation file, below the source.
        image_name: the stem of an image, with `{name}` for what it has in common with its mask.
        mask_name: likewise that of a mask.
        palette: RGB colour by class name, where masks hold colours; empty finds the colours in the masks; None where
            masks hold indices.
        ratios: shares of train, val and maybe test, which need not sum to 1; None is 0.8 and 0.2.
        names: by split, a file that lists the names of its images; empty where ratios decide.
        group_by: regular expression; images whose names give the same match stay in one split.
        seed: of the split.
        classes: names, or their number; None counts them.
        ignore_index: the mask value that is ignored; None is 255 where nothing speaks against it.
        value_map: what other mask values mean.
        variant: which of a layout's variants; None is its first.
        spelling: how to change these options, for messages.
    """

    images: str = "images"
    masks: str = "masks"
    image_name: str = "{name}"
    mask_name: str = "{name}"
    palette: Mapping[str, Colour] | None = None
    ratios: Sequence[float] | None = None
    names: Mapping[str, Path] = field(default_factory=dict)
    group_by: str | None = None
    seed: int = 0
    classes: Sequence[str] | int | None = None
    ignore_index: int | None = None
    value_map: Mapping[int, int] = field(default_factory=dict)
    variant: str | None = None
    spelling: Spelling = AS_OPTIONS


@dataclass(frozen=True)
class Source:
    """A dataset as it was found.

    Attributes:
        name: what it is called.
        origin: where it lies, for the record.
        splits: by split, files, or samples that are made; those of UNDEALT are still to be dealt.
        task: its classes; None where the values of the masks tell them.
        value_map: what values in the masks mean, where they are not class indices.
        colours: these values are colours (0xRRGGBB).
        findings: what was wrong while finding it: files without a partner and the like.
        categories: groups of classes, where the dataset has them.
        guessed: masks, as SPLIT/NAME, whose values `seg dataset check --fix` had to guess.
    """

    name: str
    origin: str
    splits: Mapping[str, Sequence[Pair | Sample]]
    task: Task | None = None
    value_map: Mapping[int, int] = field(default_factory=dict)
    colours: bool = False
    findings: Sequence[Finding] = ()
    categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    guessed: Sequence[str] = ()


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
