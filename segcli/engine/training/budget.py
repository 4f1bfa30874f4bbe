"""A training that takes a given time: how many steps it has is settled as it goes, by what they take."""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from statistics import fmean
from typing import Literal

from segcli.datasets.dataset import Sample
from segcli.engine.training.auto import is_validated
from segcli.engine.training.build import Parts
from segcli.engine.training.distributed import Processes
from segcli.engine.training.progress import TrainingProgress
from segcli.engine.training.schedule import over_other_steps
from segcli.engine.training.validation import validate
from segcli.parallel import silent

RESERVE = 0.02
"""Share of a budget that is kept back, since what follows the last settling may be slower."""

_LAST_FILES = 3.0  # seconds, of pictures and bundles behind the last validation
_LAST_PICTURES = 4  # images that are predicted for them

POINTS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Shares of the time, or of the steps, behind which the number of steps is settled anew."""

_LEAST_SEEN = 3  # steps behind the first one
_STRETCH = 10  # steps that tell what one takes
_LEAST_LEFT = 0.05  # of the steps done: so many follow in any case, in which the learning rate falls to its end
_TRIED_IMAGES = 8  # a process, by which a validation is measured where there has been none yet, at most
_SHARE_OF_TRIAL = 0.02  # of the budget, for which there are fewer


def most_steps(least: int, seconds: float, seconds_a_step: float, seconds_of: Callable[[int], float]) -> int:
    """The most steps that fit into a time, `least` in any case.

    Args:
        least: steps.
        seconds: that there are.
        seconds_a_step: what one more takes at least.
        seconds_of: what a number of steps takes; more of them never take less.
    """
    candidates = range(least + 1, least + max(int(seconds / seconds_a_step), 0) + 1)
    return least + bisect_right(candidates, seconds, key=seconds_of)


@dataclass(frozen=True)
class Rest:
    """What of a training is yet to come.

    Attributes:
        step: steps done.
        epoch: epochs done.
        step_in_epoch: steps done of the one under way.
        steps_an_epoch: of a whole one.
        every: epochs from one validation to the next.
        seconds_a_step: with all that belongs to it but validations.
        seconds_a_validation: likewise.
    """

    step: int
    epoch: int
    step_in_epoch: int
    steps_an_epoch: int
    every: int | Literal["auto"]
    seconds_a_step: float
    seconds_a_validation: float

    def epochs(self, total: int) -> int:
        """The epochs of a training of so many steps."""
        return self.epoch + ceil((total - self.step + self.step_in_epoch) / self.steps_an_epoch)

    def seconds(self, total: int) -> float:
        """What is left to do of a training of so many steps takes."""
        last = self.epochs(total)
        validations = sum(is_validated(epoch, self.every, epoch == last) for epoch in range(self.epoch + 1, last + 1))
        return (total - self.step) * self.seconds_a_step + validations * self.seconds_a_validation

    def most_steps(self, left: float) -> int:
        """The most steps of the whole training whose rest fits into the seconds that are left."""
        least = self.step + ceil(_LEAST_LEFT * self.step)
        return most_steps(least, left, self.seconds_a_step, self.seconds)


class Clock:
    """The time that a training takes, and what of it its steps and its validations take.

    Args:
        began: when it did, in seconds of `time.perf_counter`.
        before: seconds that it took before it went on from a state.
    """

    def __init__(self, began: float, before: float = 0.0) -> None:
        self.began = began - before
        self.a_validation = 0.0
        self._apart = 0.0
        self._validations: list[float] = []
        self._marks: list[tuple[float, int]] = []

    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self.began

    def stepped(self, step: int) -> None:
        """Takes note of a step that is done; the first one warms up and does not count."""
        if not self._marks:
            self.mark(step)

    def mark(self, step: int) -> None:
        """Begins a new stretch of steps; machines are faster and slower for minutes."""
        self._marks.append((time.perf_counter() - self._apart, step))

    def validated(self, seconds: float) -> None:
        """Takes note of a validation."""
        self._apart += seconds
        self._validations.append(seconds)
        self.a_validation = fmean(self._validations)

    def tried_validation(self, seconds: float, whole: float) -> None:
        """Takes note of a trial of a validation: what it took, and what a whole one would."""
        self._apart += seconds
        self.a_validation = whole

    def points_passed(self, budget: float | None, progress: TrainingProgress, total: int) -> int:
        """How many of the points behind which the steps are settled have been passed, as far as can be told by now.

        Args:
            budget: seconds of the whole training; None where it has none.
            progress: of the training.
            total: its steps, as far as is known.
        """
        if budget is None or not self._marks or progress.step - self._marks[0][1] < _LEAST_SEEN:
            return progress.settled
        return bisect_right(POINTS, max(self.seconds() / budget, progress.step / total))

    def a_step(self, step: int) -> float:
        """Seconds of a step in the mean of the last stretch that is long enough, with all but validations in it."""
        long_enough = [mark for mark in self._marks if step - mark[1] >= _STRETCH]
        since, first = long_enough[-1] if long_enough else self._marks[0]
        return (time.perf_counter() - self._apart - since) / (step - first)


def with_steps_that_fit(
    parts: Parts, progress: TrainingProgress, clock: Clock, val_samples: Sequence[Sample], processes: Processes
) -> tuple[Parts, str]:
    """The parts of a training of as many steps as its budget leaves time for, and why so many.

    Args:
        parts: with a `train.budget` in their config.
        progress: of the training.
        clock: of the leading process, which decides.
        val_samples: what is validated on; a few of them are, where none has been yet.
        processes: those that train together; each calls this behind the same step.
    """
    if not clock.a_validation:
        _try_validation(parts, clock, val_samples, processes)
    budget = parts.config.train.budget
    assert budget is not None
    rest = Rest(
        progress.step, progress.epoch, progress.step_in_epoch, len(parts.batches), parts.config.val.every_epochs,
        clock.a_step(progress.step), clock.a_validation,
    )  # fmt: skip
    clock.mark(progress.step)
    at_the_end = _LAST_FILES + _LAST_PICTURES * processes.count * clock.a_validation / len(val_samples)
    total = processes.lead(rest.most_steps((1 - RESERVE) * budget - at_the_end - clock.seconds()))
    train = parts.config.train.model_copy(update={"max_steps": total, "epochs": rest.epochs(total)})
    config = parts.config.model_copy(update={"train": train})
    scheduler = over_other_steps(config, parts.network, parts.optimizer, parts.scheduler, progress.step, total)
    why = (
        f"a step takes {rest.seconds_a_step:.2f} s and a validation {rest.seconds_a_validation:.1f} s, and "
        f"{clock.seconds():.0f} s of {budget:.0f} have passed"
    )
    return replace(parts, config=config, scheduler=scheduler, total_steps=total, total_epochs=train.epochs), why


def _try_validation(parts: Parts, clock: Clock, val_samples: Sequence[Sample], processes: Processes) -> None:
    """Measures a validation by a few images from all over, behind one a process that warms up."""
    budget, count = parts.config.train.budget, processes.count
    assert budget is not None
    began = time.perf_counter()
    validate(parts, val_samples[:count], processes, silent)
    warm = time.perf_counter()
    cheap = processes.lead(int(_SHARE_OF_TRIAL * budget / (warm - began)))
    number = count * min(max(cheap, 1), _TRIED_IMAGES)
    few = val_samples[:: max(len(val_samples) // number, 1)][:number]
    validate(parts, few, processes, silent)
    ended = time.perf_counter()
    clock.tried_validation(ended - began, (ended - warm) * len(val_samples) / len(few))
