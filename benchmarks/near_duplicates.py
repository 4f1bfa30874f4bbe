"""How long the search for near-duplicates takes, beside comparing each with each on a part of them.

    PYTHONPATH=. python benchmarks/near_duplicates.py [TRAIN VAL]        100000 25000 by default

Random hashes, calm pictures (skies: flat rows, so that many parts of hashes are equal), and calm pictures of which most
are frames of a few scenes. A hundredth of val is planted: train hashes with 0 … 12 bits changed.
"""

import sys
import time

import numpy as np

from segcli.datasets.check.alike import ALIKE, nearest_alike


def random_hashes(number: int, rng: np.random.Generator) -> np.ndarray:
    """N×32 bytes without any order."""
    return rng.integers(0, 256, (number, 32), np.uint8)


def calm_hashes(number: int, rng: np.random.Generator) -> np.ndarray:
    """Hashes of smooth pictures whose upper rows are flat: 0 … 12 of 16."""
    coarse = rng.random((number, 6, 6), np.float32)
    rows, columns = np.linspace(0, 4.999, 16), np.linspace(0, 4.999, 17)
    mixed = _between(_between(coarse, rows, 1), columns, 2)
    bits = mixed[:, :, :-1] < mixed[:, :, 1:]
    bits[np.arange(16) < rng.integers(0, 13, number)[:, None]] = False
    return np.packbits(bits.reshape(number, 256), axis=1)


def _between(values: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    left = places.astype(int)
    share = (places - left).astype(np.float32).reshape([-1 if side == axis else 1 for side in range(3)])
    return values.take(left, axis) * (1 - share) + values.take(left + 1, axis) * share


def frames(number: int, rng: np.random.Generator) -> np.ndarray:
    """Nine of ten are frames of 200 scenes, 15 bits from their scene or fewer."""
    scenes = calm_hashes(200, np.random.default_rng(9))
    hashes = with_changes(scenes[rng.integers(0, 200, number)], rng.integers(0, 16, number), rng)
    alone = rng.random(number) < 0.1
    hashes[alone] = calm_hashes(int(alone.sum()), rng)
    return hashes


def with_changes(hashes: np.ndarray, numbers: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hashes with so many of their bits changed."""
    changed = np.argsort(rng.random((len(hashes), 256), np.float32), axis=1).argsort(axis=1) < numbers[:, None]
    return hashes ^ np.packbits(changed, axis=1)


def as_numbers(hashes: np.ndarray) -> list[int]:
    """Rows of bytes as numbers."""
    return [int.from_bytes(row.tobytes()) for row in hashes]


def each_with_each(val: list[int], train: list[int]) -> dict[int, tuple[int, int]]:
    """What the search must find, by comparing all; of hashes that all say something."""
    found = {}
    for place, number in enumerate(val):
        nearest = min(((number ^ other).bit_count(), at) for at, other in enumerate(train))
        if nearest[0] <= ALIKE:
            found[place] = nearest
    return found


def main(num_train: int, num_val: int) -> None:
    """Prints a row a kind of hashes."""
    print("hashes   train    val      found   seconds   2,000 × 2,000 as brute force")
    for make in (random_hashes, calm_hashes, frames):
        rng = np.random.default_rng(0)
        train, val = make(num_train, rng), make(num_val, rng)
        planted = np.arange(0, num_val, 100)
        val[planted] = with_changes(train[planted], planted // 100 % 13, rng)
        of_train, of_val = as_numbers(train), as_numbers(val)
        start = time.perf_counter()
        found = nearest_alike(of_val, of_train)
        seconds = time.perf_counter() - start
        telling = [[number for number in side if 30 <= number.bit_count() <= 226][:2000] for side in (of_val, of_train)]
        same = nearest_alike(*telling) == each_with_each(*telling)
        name = make.__name__.removesuffix("_hashes")
        print(f"{name:<8} {num_train:>7,} {num_val:>7,} {len(found):>8,} {seconds:>8.1f}   {same}", flush=True)


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:] or (100_000, 25_000)))
