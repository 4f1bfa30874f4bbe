"""The order of training: whose turn comes when in an epoch, and which process and micro-batch gets it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np

ANY = -1
"""Stands for a class where none is wanted."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of a sample; all randomness of its crop follows from it and the run's seed.

    Attributes:
        epoch: from 0.
        place: in the epoch's order; a sample may have several in one epoch.
        index: of the sample.
        wanted: the class that its crop is to show, or ANY.
    """

    epoch: int
    place: int
    index: int
    wanted: int = ANY


@dataclass(frozen=True)
class Order:
    """The order of each epoch: a function of (seed, epoch) alone.

    Attributes:
        num_samples: turns an epoch.
        seed: of the run.
        balance: share (0…1) of the turns that are given to a class, all classes alike, instead of going round.
        holders: by class, the samples that hold it; needed where there is a balance.
    """

    num_samples: int
    seed: int
    balance: float = 0.0
    holders: Sequence[Sequence[int]] = ()

    def turns(self, epoch: int) -> list[Turn]:
        """The turns of an epoch: each sample once, but for those given to a class, which are spread evenly."""
        rng = np.random.default_rng([self.seed, epoch])
        indices: list[int] = rng.permutation(self.num_samples).tolist()
        wanted = [ANY] * self.num_samples
        classes = [index for index, held in enumerate(self.holders) if held]
        passed = np.floor(np.arange(self.num_samples + 1) * self.balance)
        for place in np.flatnonzero(np.diff(passed)).tolist() if classes else ():
            wanted[place] = classes[int(rng.integers(len(classes)))]
            held = self.holders[wanted[place]]
            indices[place] = held[int(rng.integers(len(held)))]
        return [Turn(epoch, place, *turn) for place, turn in enumerate(zip(indices, wanted, strict=True))]


@dataclass(frozen=True)
class Deal:
    """How the turns of a step, the effective batch, go to processes and, in each, to micro-batches.

    Attributes:
        batch_size: largest micro-batch.
        accumulate: most micro-batches a step and process.
        rank: this process.
        processes: their number.
    """

    batch_size: int
    accumulate: int = 1
    rank: int = 0
    processes: int = 1

    @property
    def effective_batch(self) -> int:
        """Turns a step, over all processes."""
        return self.batch_size * self.accumulate * self.processes

    def num_steps(self, num_turns: int) -> int:
        """Steps an epoch.

        A last short batch is left out where it has no turn for every process. Behind whole batches it needs two
        for each, unless batches are of one: networks that pool to 1×1 cannot normalise a single sample. The order
        being another each epoch, every sample has its turn.
        """
        whole, rest = divmod(num_turns, self.effective_batch)
        least = self.processes * (2 if whole and self.batch_size > 1 else 1)
        return whole + (rest >= least)

    def micro_batches(self, turns: Sequence[Turn], step: int) -> list[list[Turn]]:
        """This process's turns of a step (from 0), in micro-batches whose sizes differ by one at most.

        Their number is the same in every process. Where pairs leave a single turn over, it is left out for the same
        reason as a short batch.
        """
        batch = turns[step * self.effective_batch : (step + 1) * self.effective_batch]
        part = _parts(batch, self.processes)[self.rank]
        # The same number in all processes: norms that count over them meet in each micro-batch.
        shortest, longest = len(batch) // self.processes, ceil(len(batch) / self.processes)
        number = ceil(longest / self.batch_size)
        if self.batch_size > 1 and 1 < shortest < 2 * number:
            number -= 1
        return _parts(part[: number * self.batch_size], number)


def _parts(turns: Sequence[Turn], number: int) -> list[list[Turn]]:
    """Cuts turns into consecutive parts whose sizes differ by one at most."""
    cuts = [place * len(turns) // number for place in range(number + 1)]
    return [list(turns[start:end]) for start, end in pairwise(cuts)]
