"""Plain folders of images and masks, matched by stem and split by ratios or by their subfolders."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segcli.datasets.dataset import SPLITS
from segcli.datasets.explicit import infer_encoding
from segcli.datasets.pairs import Pair, Progress, match_pairs, silent, survey
from segcli.datasets.prepared import Source
from segcli.errors import DataError, UsageError


@dataclass(frozen=True)
class FolderOptions:
    """How to read a plain folder.

    Attributes:
        images: folder of images below the source.
        masks: folder of masks below the source.
        ratios: shares of train, val and test, which need not sum to 1.
        seed: seed of the split.
        classes: names; None counts them.
        ignore_index: the mask value that is ignored; None is 255 where nothing speaks against it.
        value_map: what other mask values mean.
    """

    images: str = "images"
    masks: str = "masks"
    ratios: Sequence[float] = (0.8, 0.2, 0.0)
    seed: int = 0
    classes: Sequence[str] | None = None
    ignore_index: int | None = None
    value_map: Mapping[int, int] = field(default_factory=dict)


def find(root: Path, options: FolderOptions, progress: Progress = silent) -> Source:
    """Finds the pairs below a folder and deals them to the splits.

    Where images and masks already lie in `train`, `val` (and `test`) subfolders, these are the splits.

    Raises:
        DataError: if a file has no partner, is damaged, or holds a value without a class.
        UsageError: if the ratios make no splits.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    pairs = match_pairs(root / options.images, root / options.masks)
    looked = survey(pairs, "checking masks", progress)
    encoding = infer_encoding([looked], options.classes, None, options.ignore_index, options.value_map)
    splits = _given_splits(pairs) or deal(pairs, options.ratios, options.seed)
    # The prepared masks hold 255 where the source's hold its own ignore value only if no class needs 255.
    return Source(root.resolve().name, encoding.task, options.value_map, splits, str(root))


def _given_splits(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    tops = {pair.name.split("/")[0] for pair in pairs if "/" in pair.name}
    if not tops <= set(SPLITS) or not {"train", "val"} <= tops or any("/" not in pair.name for pair in pairs):
        return {}
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
    if len(ratios) not in {2, 3} or min(ratios) < 0 or sum(ratios) <= 0:
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
