"""Explicit folders: images and masks read where they are, under the same checks as a prepared dataset."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from segcli.datasets.dataset import Dataset, FileSample, MaskEncoding, unknown_values
from segcli.datasets.pairs import Pair, Progress, Survey, count_classes, match_pairs, silent, survey
from segcli.errors import DataError
from segcli.task import Colour, Task, default_ignore_index

Classes = Sequence[str] | int | None


def open_folders(
    name: str,
    folders: Mapping[str, tuple[Path, Path]],
    classes: Classes = None,
    palette: Sequence[Colour] | None = None,
    ignore_index: int | None = None,
    value_map: Mapping[int, int] | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Opens folders of images and masks as a dataset; every mask is looked at once.

    Args:
        name: what to call it.
        folders: by split, the folder of images and that of masks.
        classes: names, or their number; None counts them over all splits.
        palette: a colour a class.
        ignore_index: the mask value that is ignored; None is 255 (65535 beyond 255 classes), and lets masks of one
            value and 255 be refused.
        value_map: what other values mean.
        progress: told of each mask looked at.

    Raises:
        DataError: naming the file that is missing, damaged, of the wrong size or holds a value without a class.
    """
    pairs = {split: match_pairs(images, masks) for split, (images, masks) in folders.items()}
    surveys = {split: survey(found, f"checking {split} masks", progress) for split, found in pairs.items()}
    encoding = infer_encoding(list(surveys.values()), classes, palette, ignore_index, value_map or {})
    digest = hashlib.sha256("".join(looked.digest for looked in surveys.values()).encode())
    digest.update(repr((encoding.task.to_json(), encoding.value_map)).encode())
    return Dataset(
        name,
        encoding.task,
        {split: file_samples(found, encoding) for split, found in pairs.items()},
        {split: count_classes(looked.values, encoding) for split, looked in surveys.items()},
        digest.hexdigest(),
    )


def file_samples(pairs: Sequence[Pair], encoding: MaskEncoding) -> list[FileSample]:
    """The pairs as samples of a dataset."""
    return [FileSample(pair.name, pair.image, pair.mask, encoding) for pair in pairs]


def infer_encoding(
    surveys: Sequence[Survey],
    classes: Classes,
    palette: Sequence[Colour] | None,
    ignore_index: int | None,
    value_map: Mapping[int, int],
) -> MaskEncoding:
    """What the values in the masks mean: the given classes, or as many as the values ask for.

    Raises:
        DataError: if a value has no class, or what 255 means is open.
    """
    example = {value: file for looked in reversed(surveys) for value, file in looked.example.items()}
    if ignore_index is None and not value_map:
        _refuse_ambiguous(example)
    meanings = {value_map.get(value, value) for value in example}
    ignored = _ignored(ignore_index, classes, meanings)
    names = _class_names(classes, meanings - {ignored}, example)
    if ignored < len(names):
        raise DataError(
            f"ignore_index {ignored} is also the index of class {names[ignored]!r}; map the ignored value "
            f"elsewhere, as in `map: {{{ignored}: 255, …}}`, with the classes behind it moved down"
        )
    if palette is not None and len(palette) != len(names):
        raise DataError(f"the palette has {len(palette)} colours for {len(names)} classes; give one a class")
    task = Task.of(names, palette, ignored)
    strange = sorted(value for value in example if not _has_meaning(value_map.get(value, value), task))
    if strange:
        raise DataError(unknown_values(example[strange[0]], strange, task))
    return MaskEncoding(task, value_map)


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
        raise DataError(
            f"the masks hold {held} (as in {example[255]}), and 255 could be a class or ignored. Say which: "
            f"`dataset.map: {{255: 1}}` (or --map 255=1) makes it class 1, `dataset.ignore_index: 255` "
            f"(or --ignore-index 255) ignores it"
        )


def _class_names(classes: Classes, indices: set[int], example: Mapping[int, Path]) -> Sequence[str]:
    if isinstance(classes, Sequence):
        return classes
    if classes is not None:
        return [f"class_{index}" for index in range(classes)]
    largest = max(indices, default=0)
    if largest > 1 and largest >= 4 * len(indices):
        raise DataError(
            f"the masks hold {len(indices)} values up to {largest} (as in {example.get(largest)}), which are no "
            f"indices 0…C-1. Give `dataset.classes`, and `dataset.map` for what the values mean."
        )
    if largest < 1:
        raise DataError("the masks hold a single class; a segmentation needs at least two, background included")
    return [f"class_{index}" for index in range(largest + 1)]


def _has_meaning(index: int, task: Task) -> bool:
    return index == task.ignore_index or 0 <= index < task.num_classes
