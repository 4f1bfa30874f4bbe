"""Pairs of pictures that hardly differ, found by an index over parts of their perceptual hashes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from segcli.parallel import Progress, silent

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ALIKE = 10
"""Bits of 256 in which the perceptual hashes of two images may differ for the images to count as alike."""

_BITS = 256
_PARTS = ALIKE + 1  # hashes that differ in at most ALIKE bits have one of so many parts in common
_AT_ONCE = 1 << 20  # pairs that may be compared at a time, which bounds the memory however many share a part
_WORTH = 0.1  # share of all pairs up to which picking them is faster than comparing each with each

Words = NDArray[np.uint64]
Places = NDArray[np.int64]
Compared = tuple[int, Places, Places, Places]
"""How many pairs were compared; places of those that are alike on either side, and their distances."""


def nearest_alike(
    hashes: Sequence[int], others: Sequence[int], progress: Progress = silent
) -> dict[int, tuple[int, int]]:
    """By place in `hashes`, of 256 bits, the distance in bits and the place of the nearest of `others`, if alike.

    Of several as near the first counts. Hashes that say nothing (of flat pictures: nearly all 0, or nearly all 1) are
    like none. Both sides are cut into 11 parts: by the pigeonhole principle, hashes at most 10 bits apart have one in
    common (Norouzi et al., "Fast Search in Hamming Space with Multi-Index Hashing", 2012). Where too many share
    their parts for this to save time, each is compared with each.
    """
    words, places = _telling(hashes)
    other_words, other_places = _telling(others)
    pairs = len(words) * len(other_words)
    if not pairs:
        return {}
    parts, other_parts = _parts(words, other_words)
    until = np.cumsum(parts @ other_parts.sum(axis=1))  # pairs that share parts, up to each row
    total = int(until[-1])
    if total > pairs * _WORTH:
        total, compared = pairs, _each_with_each(words, other_words)
    else:
        compared = _within(until, parts, other_parts, words, other_words)
    none = (ALIKE + 1) * len(others)
    best, done = np.full(len(words), none, np.int64), 0  # the distance, and behind it the place
    for number, one, other, distance in compared:
        np.minimum.at(best, one, distance * len(others) + other_places[other])
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


def _parts(words: Words, other_words: Words) -> "tuple[csr_array, csr_array]":
    """Which hash of the one side has which part, and which part is in which of the other side: N×K and K×M, of ones.

    Neighbouring bits, which are alike in calm pictures, go to several parts.
    """
    from scipy.sparse import csr_array  # here, since what uses exported files alone has no scipy

    bits = np.unpackbits(np.concatenate([words, other_words]).view(np.uint8), axis=1)
    keys = np.empty((len(bits), _PARTS), np.int64)
    for part in range(_PARTS):
        chosen = bits[:, part::_PARTS].astype(np.int64)
        keys[:, part] = chosen @ (1 << np.arange(chosen.shape[1])) + (part << 32)
    _, number = np.unique(keys, return_inverse=True)
    starts = np.arange(0, keys.size + 1, _PARTS)
    table = csr_array((np.ones(keys.size, np.int64), number.ravel(), starts))
    return table[: len(words)], table[len(words) :].T.tocsr()


def _within(
    until: Places, parts: "csr_array", other_parts: "csr_array", words: Words, other_words: Words
) -> Iterator[Compared]:
    """Compares the pairs that share a part, some rows at a time."""
    starts = np.searchsorted(until, np.arange(1, until[-1] + 1, _AT_ONCE))
    for first, end in pairwise([*starts.tolist(), len(words)]):
        shared = (parts[first:end] @ other_parts).tocoo()
        one, other = shared.row + first, shared.col
        distance = np.bitwise_count(words[one] ^ other_words[other]).sum(axis=1, dtype=np.int64)
        near = distance <= ALIKE
        yield int(shared.data.sum()), one[near], other[near], distance[near]


def _each_with_each(words: Words, other_words: Words) -> Iterator[Compared]:
    rows, other_rows = words.view(np.uint8), other_words.view(np.uint8)
    step = max(_AT_ONCE // len(other_words), 1)
    for first in range(0, len(words), step):
        block = rows[first : first + step]
        distance, nearest = cv2.batchDistance(block, other_rows, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=1)
        near = np.flatnonzero(distance[:, 0] <= ALIKE)
        yield len(block) * len(other_rows), near + first, nearest[near, 0].astype(np.int64), distance[near, 0]
