"""Plain folders of images and masks, matched by stem and split by ratios or by their subfolders."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

from segcli.datasets.dataset import SPLITS
from segcli.datasets.explicit import infer_encoding
from segcli.datasets.pairs import Pair, Progress, match_pairs, silent, survey
from segcli.datasets.prepared import Source
from segcli.errors import DataError, UsageError
from segcli.task import check_classes, default_ignore_index


@dataclass(frozen=True)
class FolderOptions:
    """How to read a plain folder.

    Attributes:
        images: folder of images below the source.
        masks: folder of masks below the source.
        ratios: shares of train, val and maybe test, which need not sum to 1; None is 0.8 and 0.2.
        seed: seed of the split.
        classes: names; None counts them.
        ignore_index: the mask value that is ignored; None is 255 where nothing speaks against it.
        value_map: what other mask values mean.
    """

    images: str = "images"
    masks: str = "masks"
    ratios: Sequence[float] | None = None
    seed: int = 0
    classes: Sequence[str] | None = None
    ignore_index: int | None = None
    value_map: Mapping[int, int] = field(default_factory=dict)


def find(root: Path, options: FolderOptions, progress: Progress = silent) -> Source:
    """Finds the pairs below a folder and deals them to the splits.

    Where images and masks already lie in `train`, `val` (and `test`) subfolders, these are the splits. The ignored
    value becomes 255 (65535 beyond 255 classes).

    Raises:
        DataError: if a file has no partner, is damaged, or holds a value without a class.
        UsageError: if the ratios make no splits.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if options.classes is not None:
        try:
            check_classes(options.classes)
        except ValueError as error:
            raise UsageError(f"--{error}") from None
    pairs = match_pairs(root / options.images, root / options.masks)
    looked = survey(pairs, "checking masks", progress)
    encoding = infer_encoding([looked], options.classes, None, options.ignore_index, options.value_map)
    splits = _given_splits(pairs, options) or deal(pairs, options.ratios or (0.8, 0.2), options.seed)
    ignored = default_ignore_index(encoding.task.num_classes)
    value_map = {encoding.task.ignore_index: ignored, **options.value_map}
    value_map = {value: ignored if index == encoding.task.ignore_index else index for value, index in value_map.items()}
    task = replace(encoding.task, ignore_index=ignored)
    return Source(root.resolve().name, task, value_map, splits, str(root))


def _given_splits(pairs: Sequence[Pair], options: FolderOptions) -> dict[str, list[Pair]]:
    tops = {pair.name.split("/")[0] if "/" in pair.name else "" for pair in pairs}
    if not tops & {*SPLITS, "valid", "validation", "training"}:
        return {}
    if not tops <= set(SPLITS) or not {"train", "val"} <= tops:
        raise DataError(
            f"some images lie in {' and '.join(sorted(tops - {''}))}, which looks like splits; these must be "
            f"train and val, maybe test, and hold all images. Rename or move the folders."
        )
    if options.ratios is not None:
        raise UsageError("--split deals images to splits, but they lie in train and val already; leave it out")
    return {
        split: [
            Pair(pair.name.removeprefix(f"{split}/"), pair.image, pair.mask)
            for pair in pairs
            if pair.name.startswith(f"{split}/")
        ]
        for split in SPLITS
        if split in tops
    }


def deal(pairs: Sequence[Pair], ratios: Sequence[float], seed: int) -> dict[str, list[Pair]]:
    """Deals pairs to train, val and test by ratios; the same names and seed give the same splits anywhere.

    Raises:
        UsageError: if the ratios are no two or three shares, or leave train or val empty.
    """
    if len(ratios) not in {2, 3} or not all(0 <= ratio < inf for ratio in ratios) or sum(ratios) <= 0:
        raise UsageError(
            f"--split {','.join(map(str, ratios))}: expected shares of train, val and maybe test: 0.8,0.1,0.1"
        )
    order = sorted(pairs, key=lambda pair: hashlib.sha256(f"{seed}/{pair.name}".encode()).digest())
    shares = [ratio / sum(ratios) for ratio in ratios]
    ends = [round(len(order) * sum(shares[: place + 1])) for place in range(len(shares))]
    splits = {
        split: sorted(order[start:end], key=lambda pair: pair.name)
        for split, start, end in zip(SPLITS, [0, *ends], ends, strict=False)
    }
    for split in ("train", "val"):
        if not splits[split]:
            raise UsageError(f"--split {','.join(map(str, ratios))} leaves {split} empty, of {len(order)} pairs")
    return {split: found for split, found in splits.items() if found}
