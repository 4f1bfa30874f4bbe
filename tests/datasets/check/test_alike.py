"""Near-duplicates: the same pairs as comparing each with each, in bounded steps, however alike the pictures."""

import numpy as np
import pytest

from segcli.datasets.check.alike import ALIKE, nearest_alike


def hashes(number: int, rng: np.random.Generator, flat: int) -> list[int]:
    """Random hashes of which the first bits, as of a sky, are 0."""
    bits = rng.integers(0, 2, (number, 256), np.uint8)
    bits[:, :flat] = 0
    return [int.from_bytes(row.tobytes()) for row in np.packbits(bits, axis=1)]


def changed(number: int, bits: int, rng: np.random.Generator) -> int:
    return number ^ sum(1 << int(place) for place in rng.permutation(256)[:bits])


@pytest.mark.parametrize("flat", [0, 100, 150])
def test_the_pairs_are_those_of_comparing_each_with_each(flat: int) -> None:
    rng = np.random.default_rng(flat)
    train, val = hashes(2000, rng, flat), hashes(2000, rng, flat)
    for place in range(260):
        val[7 * place] = changed(train[3 * place], place % 13, rng)
    words = [np.array([list(number.to_bytes(32)) for number in side], np.uint8) for side in (val, train)]
    expected = {}
    for place, row in enumerate(words[0]):
        distance = np.bitwise_count(words[1] ^ row).sum(axis=1)
        if distance.min() <= ALIKE:
            expected[place] = (int(distance.min()), int(distance.argmin()))
    assert nearest_alike(val, train) == expected
    assert {distance for distance, _ in expected.values()} == set(range(ALIKE + 1))


def test_frames_of_one_scene_are_compared_each_with_each() -> None:
    rng = np.random.default_rng(0)
    (scene,) = hashes(1, rng, 0)
    train, val = ([changed(scene, 1 + place % 5, rng) for place in range(300)] for _ in range(2))
    told: list[tuple[int, int]] = []
    found = nearest_alike(val, train, lambda _, done, total: told.append((done, total)))
    for place, (distance, nearest) in found.items():
        apart = [(number ^ val[place]).bit_count() for number in train]
        assert (distance, nearest) == (min(apart), apart.index(min(apart)))
    assert len(found) == 300
    assert told[-1] == (300 * 300, 300 * 300)


@pytest.mark.parametrize("sides", [([], []), ([1 << 9], [1 << 9]), ([], [5])])
def test_hashes_that_say_nothing_are_like_none(sides: tuple[list[int], list[int]]) -> None:
    assert nearest_alike(*sides) == {}
