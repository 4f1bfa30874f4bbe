"""How far a training comes in a time: what a dataset's epochs hold, what they take here, how often is validated."""

from dataclasses import dataclass
from math import ceil
from typing import Self

from segcli.engine.planning.probe import Speed
from segcli.engine.training.budget import RESERVE, most_steps
from segcli.engine.training.order import Deal
from segcli.errors import UsageError

_VALIDATIONS = 12  # of a training, about
_SHARE_OF_VALIDATION = 0.2  # of its time, above which there are fewer
_LEAST_STEPS = 20  # below which nothing is learnt


@dataclass(frozen=True)
class Length:
    """How long is trained.

    Attributes:
        steps: of the training.
        epochs: that they take; the last may be cut short.
        every: epochs from one validation to the next.
        validations: of the training.
    """

    steps: int
    epochs: int
    every: int
    validations: int


@dataclass(frozen=True)
class Pace:
    """How fast a dataset is trained on.

    Attributes:
        speed: what was measured.
        batch_size: crops at a time.
        steps_an_epoch: the last one may be of fewer crops.
        crops: of a step, in the mean over an epoch.
        step: seconds a step, likewise.
        val_images: images of a validation.
    """

    speed: Speed
    batch_size: int
    steps_an_epoch: int
    crops: float
    step: float
    val_images: int

    @classmethod
    def of(cls, speed: Speed, train_images: int, val_images: int) -> Self:
        """The pace of a dataset of so many images at a speed that was measured."""
        size = speed.config.train.batch_size
        assert isinstance(size, int)
        deal = Deal(size, speed.config.train.accumulate)
        steps = deal.num_steps(train_images)
        crops = min(train_images / steps, deal.effective_batch)
        return cls(speed, size, steps, crops, speed.step * crops / deal.effective_batch, val_images)

    @property
    def validation(self) -> float:
        """Seconds a validation."""
        return self.speed.validation + self.val_images * self.speed.val_image

    def length(self, steps: int) -> Length:
        """The length of a number of steps, validated often enough to see it, and seldom enough to pay for it."""
        epochs = ceil(steps / self.steps_an_epoch)
        cheap = _SHARE_OF_VALIDATION * steps * self.step / max(self.validation, 1e-9)
        every = max(ceil(epochs / max(min(cheap, _VALIDATIONS), 1)), 1)
        validations = len({1, epochs, *range(every, epochs + 1, every)})
        return Length(steps, epochs, every, validations)

    def seconds(self, length: Length) -> float:
        """What a training takes from its first process to its last file."""
        trained = length.steps * self.step + length.epochs * self.speed.epoch
        return self.speed.start + trained + length.validations * self.validation

    def affordable_steps(self, budget: float) -> int:
        """The most steps within a budget in seconds, start and validations included, less a reserve.

        Raises:
            UsageError: if not even twenty fit, or two epochs where those have fewer.
        """
        usable = (1 - RESERVE) * budget
        least = min(_LEAST_STEPS, self.steps_an_epoch * 2)
        needed = self.seconds(self.length(least))
        if needed > usable:
            raise UsageError(
                f"--budget {budget:.0f}s is too short: a start, {least} steps and their validations take "
                f"{ceil(needed / (1 - RESERVE))} s here; give that at least, or fewer validation images"
            )
        return most_steps(least, usable, self.step, lambda steps: self.seconds(self.length(steps)))
