"""Ignored pixels that stand out: where other masks have a class, or next to nothing ignored."""

from collections.abc import Iterator, Mapping, Sequence
from math import exp, log
from pathlib import Path

import numpy as np

from segcli.datasets.encoding import MaskEncoding, MaskValues
from segcli.datasets.layouts.base import Finding, Source

_FEW_MASKS = 10  # of which nothing can stand out
_SHARE = 0.01  # of a mask's pixels, below which ignored ones do not matter
_SELDOM = 0.05  # share of the masks up to which holding ignored pixels is odd by itself


def odd_ignored(source: Source, encoding: MaskEncoding, masks: Sequence[MaskValues]) -> Iterator[Finding]:
    """Masks whose ignored share stands out from the set, and sets of two classes of which a part ignores one.

    Where few masks ignore anything, those that do stand out. Else a share does that lies above the upper quartile by
    more than three times the distance of the quartiles (Tukey's outer fence), both taken of the logarithms, since
    shares are skewed, and more than three times as high.
    """
    shares = {mask.file: encoding.count_ignored(mask.pixels) / sum(mask.pixels.values()) for mask in masks}
    held = sorted(share for share in shares.values() if share)
    if not held or len(masks) < _FEW_MASKS:
        return
    whole = _ignored_class(source, encoding, [(mask.pixels, shares[mask.file]) for mask in masks])
    if whole is not None:
        yield whole
        return
    limit = _SHARE
    if len(held) > max(1, _SELDOM * len(masks)):
        lower, upper = (log(np.quantile(held, part)) for part in (0.25, 0.75))
        limit = max(limit, exp(upper + 3 * (upper - lower)), 3 * exp(upper))
    for file, share in shares.items():
        if limit <= share < 1:
            median = np.median([*shares.values()])
            of_set = f"the median mask on {median:.1%} ({len(held)} of {len(masks)} masks have ignored pixels)"
            message = f"{file} is ignored on {share:.1%} of its pixels, {of_set}; look whether a class was painted so"
            yield Finding("ignored", file, message)


def _ignored_class(
    source: Source, encoding: MaskEncoding, masks: Sequence[tuple[Mapping[int, int], float]]
) -> Finding | None:
    """What is wrong with a set of two classes where masks have either ignored pixels or the second class."""
    seen: dict[bool, set[int | None]] = {True: set(), False: set()}
    for values, share in masks:
        seen[share > 0] |= {encoding.meaning(value) for value in values} - {None, encoding.task.ignore_index}
    missing = seen[False] - seen[True]
    if encoding.task.num_classes > 2 or len(seen[True]) != 1 or len(seen[False]) != 2:
        return None
    some = [share for _, share in masks if share]
    name = encoding.task.classes[next(index for index in missing if index is not None)]
    message = (
        f"{len(some)} of {len(masks)} masks have ignored pixels ({np.mean(some):.1%} of theirs) and never {name}, the "
        f"others have {name} and none ignored; look whether it was painted in two ways"
    )
    return Finding("ignored", Path(source.origin), message)
