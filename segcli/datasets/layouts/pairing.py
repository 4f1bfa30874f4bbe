"""Images and masks in folders, matched by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from os.path import commonprefix
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from segcli.datasets.layouts.base import Finding, Pair, those_there
from segcli.datasets.masks import MaskFile
from segcli.errors import DataError, UsageError
from segcli.io.files import is_text
from segcli.io.images import find_images

ANY_NAME = "{name}"


def match_pairs(
    images: Path, masks: Path, image_name: str = ANY_NAME, mask_name: str = ANY_NAME, colours: bool = False
) -> tuple[list[Pair], list[Finding]]:
    """Pairs the files of two folders by their paths without suffix, in whichever way these spell accented letters.

    Where one folder lies in the other, its files are none of the other's. Files whose stems are not as `image_name`
    and `mask_name` say (`{name}_rgb`) are passed over.

    Returns:
        The pairs in the order of their names, and what stands alone or twice.

    Raises:
        DataError: if a folder is missing or empty, or no name stands in both.
    """
    together, no_images = images.resolve() == masks.resolve(), _is_within(images, masks)
    mask_files, mask_findings = _by_name(masks, mask_name, _is_within(masks, images))
    used = set(mask_files.values())
    image_files, image_findings = _by_name(images, image_name, used.__contains__ if together else no_images)
    for folder, files, pattern in ((images, image_files, image_name), (masks, mask_files, mask_name)):
        if not files:
            raise DataError(f"{folder} holds no images{'' if pattern == ANY_NAME else f' named {pattern}'}")
    both = sorted(image_files.keys() & mask_files.keys())
    if not both:
        raise DataError(_no_partner(images, masks, image_files, mask_files))
    alone = [_alone(name, image_files, mask_files, images, masks) for name in sorted(image_files.keys() ^ mask_files)]
    pairs = [Pair(name, image_files[name], MaskFile(mask_files[name], colours)) for name in both]
    return pairs, [*image_findings, *mask_findings, *alone]


class Folders(NamedTuple):
    """Where pairs are, and how they are called: what `match_pairs` takes."""

    images: Path
    masks: Path
    image_name: str = ANY_NAME
    mask_name: str = ANY_NAME
    colours: bool = False


def match_splits(
    root: Path, folders: Mapping[str, Sequence[Folders]], where: str
) -> tuple[dict[str, Sequence[Pair]], list[Finding]]:
    """The pairs of a native dataset's splits, each in folders of images and of masks; those not there are passed over.

    Raises:
        DataError: if neither train nor val is there, or folders that are there have nothing in common.
    """
    parts = {}
    for split, places in folders.items():
        there = [match_pairs(*place) for place in places if place.images.is_dir() and place.masks.is_dir()]
        parts[split] = [pair for pairs, _ in there for pair in pairs], [item for _, found in there for item in found]
    return those_there(root, parts, where)


def with_objects(
    pairs: Sequence[Pair], file_of: Callable[[str, Path], Path], values: tuple[int, int] = (1, 65535)
) -> list[Pair]:
    """The pairs with the files, by name and mask, that tell objects apart by these values, where they are there."""
    return [
        replace(pair, mask=replace(pair.mask, instance_path=file, instance_values=values))
        if isinstance(pair.mask, MaskFile) and (file := file_of(pair.name, pair.mask.path)).is_file()
        else pair
        for pair in pairs
    ]


def list_images(folder: Path, image_name: str = ANY_NAME) -> tuple[list[Pair], list[Finding]]:
    """The images of a folder without masks, as `match_pairs` gives pairs."""
    files, findings = _by_name(folder, image_name)
    return [Pair(name, files[name], None) for name in sorted(files)], findings


def _is_within(folder: Path, other: Path) -> Callable[[Path], bool]:
    """Whether a file below a folder is one of another folder inside it, by its name there or through links."""
    real, inner = folder.resolve(), other.resolve()
    named = [other, *([folder / inner.relative_to(real)] if inner.is_relative_to(real) else [])]
    places = {place for place in named if place != folder and place.is_relative_to(folder)}
    return lambda path: bool(places) and not places.isdisjoint(path.parents)


def _by_name(
    folder: Path, pattern: str, of_others: Callable[[Path], bool] = lambda path: False
) -> tuple[dict[str, Path], list[Finding]]:
    if ANY_NAME not in pattern:
        raise UsageError(f"{pattern!r} says nothing of where the name stands; write it as in '{{name}}_mask'")
    found: dict[str, Path] = {}
    findings = []
    for path in find_images(folder):
        inner = Path(normalize("NFC", str(path.relative_to(folder))))
        if of_others(path) or not (stem := _named(inner.stem, normalize("NFC", pattern))):
            continue
        name = (inner.parent / stem).as_posix()
        if not (is_plain(str(inner)) and is_plain(name)):
            findings.append(odd_name(path))
        elif name in found:
            message = f"{path} and {found[name]} have the same stem; rename one"
            findings.append(Finding("same-stem", path, message))
        else:
            found[name] = path
    return found, findings


def is_plain(name: str) -> bool:
    """Whether a path can be written in a list and a terminal, and found again: nothing of it is hidden."""
    return is_text(name) and not any(part.startswith(".") for part in name.split("/"))


def odd_name(path: Path) -> Finding:
    """The finding of a file whose name is not plain."""
    message = f"{str(path)!r} is not named in UTF-8, with control characters, or like a hidden file; rename it"
    return Finding("name", Path(repr(str(path))[1:-1]), message)


def _alone(name: str, images: Mapping[str, Path], masks: Mapping[str, Path], *folders: Path) -> Finding:
    of_image = name in images
    file, other = (images[name], folders[1]) if of_image else (masks[name], folders[0])
    message = f"{file} has no partner of the same stem in {other}; add it or remove the file"
    return Finding("no-mask" if of_image else "no-image", file, message)


def _no_partner(images: Path, masks: Path, image_files: Mapping[str, Path], mask_files: Mapping[str, Path]) -> str:
    patterns = _likely_patterns([*image_files], [*mask_files])
    shown = f"{next(iter(image_files.values())).name} and {next(iter(mask_files.values())).name}"
    problem = f"no image of {images} has a mask of the same stem in {masks} (they are named like {shown})"
    if patterns is None:
        return f"{problem}; rename them, or say how they are named with --image-name and --mask-name"
    return f"{problem}; add {' '.join(patterns)}"


def _likely_patterns(images: Sequence[str], masks: Sequence[str]) -> list[str] | None:
    """The options that cut off least so that names match, of what all images, or all masks, begin or end with."""
    images, masks = ([Path(name).name for name in names] for names in (images, masks))
    (image_start, image_end), (mask_start, mask_end) = _ends(images), _ends(masks)
    # One end without the other is for names as 010 and 010_mask, which all end in 0.
    image_ends = {"", image_end, image_end.removeprefix(mask_end)}
    mask_ends = {"", mask_end, mask_end.removeprefix(image_end)}
    cuts = product({"", image_start}, image_ends, {"", mask_start}, mask_ends)
    for before, after, mask_before, mask_after in sorted(cuts, key=lambda cut: (sum(map(len, cut)), cut)):
        image_name, mask_name = f"{before}{ANY_NAME}{after}", f"{mask_before}{ANY_NAME}{mask_after}"
        if {_named(stem, image_name) for stem in images} & {_named(stem, mask_name) for stem in masks} - {""}:
            options = {"--image-name": image_name, "--mask-name": mask_name}
            return [f"{option} '{pattern}'" for option, pattern in options.items() if pattern != ANY_NAME]
    return None


def _ends(stems: Sequence[str]) -> tuple[str, str]:
    """What all of several stems begin with, and what the rest of them ends with."""
    if len(stems) == 1:
        return "", ""
    before = commonprefix(stems)  # noqa: RUF071 (of characters, not of folders)
    return before, commonprefix([stem[len(before) :][::-1] for stem in stems])[::-1]  # noqa: RUF071


def _named(stem: str, pattern: str) -> str:
    """What stands at `{name}` in a stem; empty where it is not named so."""
    before, _, after = pattern.partition(ANY_NAME)
    fits = stem.startswith(before) and stem.endswith(after) and len(stem) > len(before) + len(after)
    return stem[len(before) : len(stem) - len(after)] if fits else ""
