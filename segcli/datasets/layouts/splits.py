"""Deals pairs to train, val and test: by shares and with each class in each, or by lists of names."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

from segcli.datasets.dataset import SPLITS
from segcli.datasets.layouts.base import Pair
from segcli.errors import DataError, UsageError

DEFAULT_RATIOS = (0.8, 0.2)


@dataclass(frozen=True)
class Dealt:
    """A pair on the table."""

    pair: Pair
    classes: frozenset[int] = frozenset()  # that its mask holds
    content: str = ""  # of its image; pairs of the same content stay together


def deal(
    items: Sequence[Dealt], ratios: Sequence[float], seed: int, group_by: str | None = None
) -> dict[str, list[Pair]]:
    """Deals pairs to train, val and test by shares, so that each class comes to each split by its share, too.

    Groups (images of one video, copies of one image) are dealt whole: the one with the rarest class first, to the
    split that still lacks most of that class. Source: Sechidis et al., "On the Stratification of Multi-label Data",
    2011. A split that came away empty gets a group from one that has several: that whose size fits best, of equal
    ones the last that was dealt. The same names, classes and seed give the same splits anywhere.

    Args:
        items: pairs with what is in them.
        ratios: shares of train, val and maybe test, which need not sum to 1.
        seed: another one deals otherwise.
        group_by: regular expression; names with the same match (of its groups, if it has any) stay together.

    Raises:
        UsageError: if the ratios are no two or three shares, leave a split empty, or the expression is wrong.
    """
    shares = _shares(ratios)
    groups = _groups(items, group_by)
    left = Counter(index for item in items for index in item.classes)
    wanted = {
        split: _Wanted(len(items) * share, {index: count * share for index, count in left.items()})
        for split, share in shares.items()
    }
    waiting = {key: Counter(index for item in group for index in item.classes) for key, group in groups.items()}
    seeded = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())
    order = sorted(seeded, key=lambda key: min((left[index] for index in waiting[key]), default=inf))  # rarest first
    split_of: dict[str, str] = {}
    for key in order:
        rarest = min(waiting[key], key=lambda index: (left[index], index), default=None)
        split = max(shares, key=lambda name: (wanted[name].lack(rarest), wanted[name].images, shares[name]))
        split_of[key] = split
        wanted[split].take(len(groups[key]), waiting[key])
        left -= waiting[key]
    for split in shares:
        number = Counter(split_of.values())
        spare = [key for key in reversed(order) if number[split_of[key]] > 1]
        if not number[split] and spare:
            split_of[min(spare, key=lambda key: abs(len(groups[key]) - wanted[split].images))] = split
    splits = {split: [item.pair for key in order if split_of[key] == split for item in groups[key]] for split in shares}
    for split, pairs in splits.items():
        if not pairs or not {"train", "val"} <= splits.keys():
            held = f"{len(items)} pairs in {len(groups)} groups" if len(groups) < len(items) else f"{len(items)} pairs"
            missing = split if not pairs else "val"
            raise UsageError(f"--ratios {','.join(map(str, ratios))} leaves {missing} empty, of {held}")
    return {split: sorted(pairs, key=lambda pair: pair.name) for split, pairs in splits.items()}


@dataclass
class _Wanted:
    """What a split still lacks to have its share."""

    images: float
    classes: dict[int, float]

    def lack(self, index: int | None) -> float:
        return self.images if index is None else self.classes[index]

    def take(self, images: int, classes: Mapping[int, int]) -> None:
        self.images -= images
        for index, count in classes.items():
            self.classes[index] -= count


def _shares(ratios: Sequence[float]) -> dict[str, float]:
    if len(ratios) not in {2, 3} or not all(0 <= ratio < inf for ratio in ratios) or sum(ratios) <= 0:
        raise UsageError(
            f"--ratios {','.join(map(str, ratios))}: expected shares of train, val and maybe test: 0.8,0.1,0.1"
        )
    return {split: ratio / sum(ratios) for split, ratio in zip(SPLITS, ratios, strict=False) if ratio > 0}


def _groups(items: Sequence[Dealt], group_by: str | None) -> dict[str, list[Dealt]]:
    """Items that must stay together, by the first of their names."""
    try:
        pattern = re.compile(group_by) if group_by is not None else None
    except re.error as error:
        raise UsageError(f"--group-by {group_by}: no regular expression ({error})") from None
    root: dict[str, str] = {}

    def find(key: str) -> str:
        while root.setdefault(key, key) != key:
            key = root[key]
        return key

    for item in items:
        name = f"name {item.pair.name}"
        match = pattern.search(item.pair.name) if pattern else None
        keys = [f"match {match.groups() or match.group()}"] if match else []
        for key in [*keys, *([f"content {item.content}"] if item.content else [])]:
            root[find(key)] = find(name)
    groups: dict[str, list[Dealt]] = {}
    for item in items:
        groups.setdefault(find(f"name {item.pair.name}"), []).append(item)
    return {min(item.pair.name for item in group): group for group in groups.values()}


def pick(pairs: Sequence[Pair], names: Mapping[str, Path]) -> dict[str, list[Pair]]:
    """Splits pairs by files that list names, one a line; images that no file lists are left out.

    Args:
        pairs: all pairs.
        names: by split, the file. A line holds a path below the folder of images, with or without suffix; of a line
            that is no name the first word counts.

    Raises:
        DataError: if a file is missing or empty, or lists a name twice or one that is not there.
    """
    known = {pair.name: pair for pair in pairs} | {f"{pair.name}{pair.image.suffix}": pair for pair in pairs}
    flat = not any("/" in pair.name for pair in pairs)
    splits: dict[str, list[Pair]] = {}
    taken: dict[str, str] = {}
    for split, file in names.items():
        listed = read_lines(file)
        splits[split] = []
        for line, name in enumerate(listed, 1):
            spelt = [name, name.split()[0], *([Path(name.split()[0]).name, Path(name.split()[0]).stem] if flat else [])]
            pair = next((known[word] for word in spelt if word in known), None)
            if pair is None:
                raise DataError(f"{file}:{line} lists {name}, but there is no such image with a mask")
            if pair.name in taken:
                raise DataError(f"{file}:{line} lists {name}, which {taken[pair.name]} has already; keep one")
            taken[pair.name] = f"{split} ({file.name})"
            splits[split].append(pair)
    for split in ("train", "val"):
        if not splits.get(split):
            raise UsageError(f"--split-file {split}=FILE is missing; train and val are needed, test may be given")
    return splits


def read_lines(file: Path) -> list[str]:
    """The lines of a list that are not empty.

    Raises:
        DataError: if it is missing or no text.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as a list of names: {error}") from None
    return [line.strip() for line in lines if line.strip()]
