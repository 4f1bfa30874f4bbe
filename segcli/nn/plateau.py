"""A learning-rate schedule that waits for the figures to stop rising."""

import math

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class PlateauSchedule(LRScheduler):
    """A linear warm-up, then the highest rate, which falls by a factor after epochs without a gain.

    `step()` belongs behind each training step, `epoch_ended()` behind each epoch. A fall holds from the very next
    step on, and patience starts anew.

    Args:
        optimizer: its groups hold their highest rates.
        warmup_steps: steps on which the rate rises; epochs that end in them cost no patience.
        factor: of each fall.
        patience: epochs in a row without a gain until the rate falls.
        min_delta: what a value must be above the best one to be a gain.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int, factor: float, patience: int, min_delta: float) -> None:
        self.warmup_steps = warmup_steps
        self.factor = factor
        self.patience = patience
        self.min_delta = min_delta
        self.best = -math.inf
        self.epochs_without_gain = 0
        self.num_falls = 0
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each group at the present step."""
        risen = min((self.last_epoch + 1) / (self.warmup_steps + 1), 1.0)
        return [rate * risen * self.factor**self.num_falls for rate in self.base_lrs]

    def epoch_ended(self, value: float) -> None:
        """Takes the figure of an epoch, of which larger is better; lets the rates fall where patience is used up."""
        if value > self.best + self.min_delta:
            self.best, self.epochs_without_gain = value, 0
        elif self.last_epoch >= self.warmup_steps:
            self.epochs_without_gain += 1
        if self.epochs_without_gain == self.patience:
            self.num_falls, self.epochs_without_gain = self.num_falls + 1, 0
            self._last_lr = self.get_lr()
            for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
                group["lr"] = rate
