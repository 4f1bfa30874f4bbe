"""Pairs of pictures that hardly differ, found by an index over parts of their perceptual hashes."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from segcli.parallel import Progress, silent

ALIKE = 10
"""Bits of 256 in which the perceptual hashes of two images may differ for the images to count as alike."""

_BITS = 256
_PARTS = ALIKE + 1  # hashes that differ in at most ALIKE bits have one of so many parts in common
_AT_ONCE = 1 << 18  # pairs compared at a time, which bounds the memory however crowded a bucket is
_IN_CACHE = 1 << 14  # hashes that lie in a core's cache together
_WORTH = 0.1  # share of all pairs up to which picking them is faster than comparing each with each

Words = NDArray[np.uint64]
Places = NDArray[np.int64]
Compared = tuple[int, Places, Places, NDArray[np.uint16]]
"""How many pairs were compared; places of those that are alike on either side, and their distances."""


def nearest_alike(
    hashes: Sequence[int], others: Sequence[int], progress: Progress = silent
) -> dict[int, tuple[int, int]]:
    """By place in `hashes`, the distance in bits and the place of the nearest of `others`, where they are alike.

    Of several as near the first counts. Hashes that say nothing (of flat pictures: nearly all 0, or nearly all 1) are
    like none. Both sides are cut into 11 parts: by the pigeonhole principle, hashes at most 10 bits apart have one in
    common (Norouzi et al., "Fast Search in Hamming Space with Multi-Index Hashing", 2012). Where too many share
    their parts for this to save time, each is compared with each.

    Args:
        hashes: numbers of 256 bits.
        others: likewise.
        progress: told of the pairs compared.
    """
    words, places = _telling(hashes)
    other_words, other_places = _telling(others)
    buckets = [_Bucket.of(*keys) for keys in zip(_parts(words), _parts(other_words), strict=True)]
    total, pairs = sum(bucket.size for bucket in buckets), len(words) * len(other_words)
    if total > pairs * _WORTH:
        total, compared = pairs, _each_with_each(words, other_words)
    else:
        compared = _within(buckets, words, other_words)
    none = (ALIKE + 1) * len(others)
    best, done = np.full(len(words), none, np.int64), 0  # the distance, and behind it the place
    for number, one, other, distance in compared:
        np.minimum.at(best, one, distance.astype(np.int64) * len(others) + other_places[other])
        done += number
        progress("comparing images", done, total)
    return {int(places[row]): divmod(int(best[row]), len(others)) for row in np.flatnonzero(best < none)}


def _telling(hashes: Sequence[int]) -> tuple[Words, Places]:
    """The hashes that say something as N×4 words, and their places."""
    content = b"".join(number.to_bytes(_BITS // 8) for number in hashes)
    words = np.frombuffer(content, np.uint64).reshape(-1, 4)
    ones = np.bitwise_count(words).sum(axis=1)
    places = np.flatnonzero((ones >= 3 * ALIKE) & (ones <= _BITS - 3 * ALIKE))
    return words[places], places


def _parts(words: Words) -> Iterator[NDArray[np.int64]]:
    """The parts of hashes, each as a number; neighbouring bits, which are alike in calm pictures, go to several."""
    bits = np.unpackbits(words.view(np.uint8), axis=1)
    for part in range(_PARTS):
        chosen = bits[:, part::_PARTS].astype(np.int64)
        yield chosen @ (1 << np.arange(chosen.shape[1]))


class _Bucket:
    """Pairs of two sides whose keys are equal.

    Args:
        order: places of the other side, sorted by key.
        start: for each of the one side, where its equals begin in that order.
        number: how many there are.
    """

    def __init__(self, order: Places, start: Places, number: Places) -> None:
        self._order, self._start, self._ends = order, start, np.cumsum(number)

    @classmethod
    def of(cls, keys: NDArray[np.generic], other_keys: NDArray[np.generic]) -> "_Bucket":
        order = np.argsort(other_keys, kind="stable")
        start, stop = (np.searchsorted(other_keys[order], keys, side) for side in ("left", "right"))
        return cls(order, start, stop - start)

    @property
    def size(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def pairs(self) -> Iterator[tuple[Places, Places]]:
        """The places of the pairs on either side, a bounded number at a time."""
        for first in range(0, self.size, _AT_ONCE):
            number = np.arange(first, min(first + _AT_ONCE, self.size))
            one = np.searchsorted(self._ends, number, side="right")
            before = self._ends[one - 1] * (one > 0)
            yield one, self._order[self._start[one] + number - before]


def _within(buckets: Sequence[_Bucket], words: Words, other_words: Words) -> Iterator[Compared]:
    """Compares the pairs of buckets; of those that differ enough in their first words no more is counted."""
    for bucket in buckets:
        for one, other in bucket.pairs():
            number, distance = len(one), np.zeros(len(one), np.uint16)
            for column in range(4):
                distance = distance + np.bitwise_count(words[one, column] ^ other_words[other, column])
                near = np.flatnonzero(distance <= ALIKE)
                one, other, distance = one[near], other[near], distance[near]
            yield number, one, other, distance


def _each_with_each(words: Words, other_words: Words) -> Iterator[Compared]:
    columns = np.ascontiguousarray(other_words.T)
    for row, word in enumerate(words):
        for first in range(0, len(other_words), _IN_CACHE):
            block = columns[:, first : first + _IN_CACHE]
            distance = np.bitwise_count(block[0] ^ word[0]).astype(np.uint16)
            for column in range(1, 4):
                distance += np.bitwise_count(block[column] ^ word[column])
            near = np.flatnonzero(distance <= ALIKE)
            yield block.shape[1], np.full(len(near), row), first + near, distance[near]
