"""The learning-rate schedules a config may choose; each steps once a training step."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from segcli.components.section import Section, choice

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


Share = Annotated[float, Field(gt=0, lt=1)]


class OneCycle(Section):
    """One rise and one fall, both along a cosine (Smith & Topin 2018)."""

    aliases: ClassVar = ("OneCycleLR",)
    name: Literal["onecycle"] = "onecycle"
    rise: float = Field(0.25, gt=0, lt=1)
    """share of the steps on which the rate rises: the warm-up of this schedule"""
    start_factor: float = Field(0.04, gt=0, le=1)
    """first rate as a share of the highest"""
    end_factor: float = Field(1e-4, gt=0, le=1)
    """last rate as a share of the first"""
    cycle_momentum: bool = False
    """momentum, or the first of betas, falls from 0.95 to 0.85 while the rate rises, and goes back while that falls,
    whatever the optimiser's own is; of muon only that of norms and biases moves"""

    def build(self, optimizer: "Optimizer", total_steps: int) -> "LRScheduler":
        """Builds the schedule over a number of training steps."""
        from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

        if total_steps < 3:  # too few for a rise and a fall; torch's might take them all at next to nothing
            return LambdaLR(optimizer, lambda step: 1.0)
        highest = [group["lr"] for group in optimizer.param_groups]
        # torch divides by the last step of the rise, so that must not be step 0.
        rise = self.rise + 1e-6 if self.rise * total_steps == 1 else self.rise
        return OneCycleLR(
            optimizer, highest, total_steps, pct_start=rise, cycle_momentum=self.cycle_momentum,
            div_factor=1 / self.start_factor, final_div_factor=1 / self.end_factor,
        )  # fmt: skip


class _Decay(Section):
    """What the schedules share that start at the top: a linear warm-up, then a factor."""

    warmup: float = Field(0.0, ge=0, lt=1)
    """share of the steps on which the rate rises from 0"""

    def factor(self, progress: float) -> float:
        """The rate as a share of the highest, at a progress of 0…1 behind the warm-up."""
        return 1.0

    def build(self, optimizer: "Optimizer", total_steps: int) -> "LRScheduler":
        """Builds the schedule over a number of training steps."""
        from torch.optim.lr_scheduler import LambdaLR

        return LambdaLR(optimizer, self._factor_at(total_steps))

    def _factor_at(self, total_steps: int) -> Callable[[int], float]:
        rising = warmup_steps(self.warmup, total_steps)
        falling = total_steps - rising

        def factor(step: int) -> float:
            if step < rising:
                return (step + 1) / (rising + 1)
            return self.factor(min((step - rising) / falling, 1.0))

        return factor


class Cosine(_Decay):
    """Falls to 0 along half a cosine (Loshchilov & Hutter 2017)."""

    aliases: ClassVar = ("CosineAnnealingLR",)
    name: Literal["cosine"] = "cosine"

    def factor(self, progress: float) -> float:
        """The rate as a share of the highest, at a progress of 0…1 behind the warm-up."""
        return (1 + math.cos(math.pi * progress)) / 2


class Poly(_Decay):
    """Falls to 0 as (1 - progress)^power (Chen et al. 2017, DeepLab)."""

    aliases: ClassVar = ("PolynomialLR", "polynomial")
    name: Literal["poly"] = "poly"
    power: float = Field(0.9, gt=0)
    """exponent"""

    def factor(self, progress: float) -> float:
        """The rate as a share of the highest, at a progress of 0…1 behind the warm-up."""
        return float((1 - progress) ** self.power)


class Step(_Decay):
    """Falls by a factor at some points."""

    aliases: ClassVar = ("MultiStepLR", "StepLR", "multistep")
    name: Literal["step"] = "step"
    at: tuple[Share, ...] = (0.6, 0.85)
    """the points, as shares of the steps behind the warm-up"""
    gamma: float = Field(0.1, gt=0, lt=1)
    """factor at each"""

    def factor(self, progress: float) -> float:
        """The rate as a share of the highest, at a progress of 0…1 behind the warm-up."""
        return float(self.gamma ** sum(progress >= point for point in self.at))


class Constant(_Decay):
    """Stays where it is."""

    name: Literal["constant"] = "constant"


class Plateau(Section):
    """Stays where it is, and falls by a factor whenever val_miou has not risen for some epochs."""

    aliases: ClassVar = ("ReduceLROnPlateau",)
    name: Literal["plateau"] = "plateau"
    warmup: float = Field(0.0, ge=0, lt=1)
    """share of the steps on which the rate rises from 0; epochs that end in it cost no patience"""
    factor: float = Field(0.1, gt=0, lt=1)
    """factor of each fall"""
    patience: int = Field(5, ge=1)
    """epochs without a better val_miou until the rate falls, and then until it falls again"""
    min_delta: float = Field(0.0, ge=0)
    """gain in val_miou that counts as better"""

    def build(self, optimizer: "Optimizer", total_steps: int) -> "LRScheduler":
        """Builds the schedule over a number of training steps; it wants to be told of each epoch's end."""
        from segcli.nn.plateau import PlateauSchedule

        rising = warmup_steps(self.warmup, total_steps)
        return PlateauSchedule(optimizer, rising, self.factor, self.patience, self.min_delta)


def warmup_steps(share: float, total_steps: int) -> int:
    """The steps of a warm-up, which leaves at least one step at the highest rate."""
    return min(round(share * total_steps), total_steps - 1)


SchedulerConfig = choice("scheduler", OneCycle, Cosine, Poly, Step, Constant, Plateau)
