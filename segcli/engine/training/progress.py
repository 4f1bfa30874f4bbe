"""How far a training has come, and what its steps add up to."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from segcli.engine.evaluation.scores import Scores
from segcli.engine.training.distributed import Processes


@dataclass
class TrainingProgress:
    """How far a training has come.

    Attributes:
        epoch: epochs done.
        step: steps done.
        step_in_epoch: steps done of the epoch that is under way.
        rows: a row of figures for each epoch done.
        best_epoch: the epoch (from 1) with the best figure; 0 before the first.
        best_confusion: its confusion matrix on the val split.
        left_out: steps that were left out in a row, since loss or gradients were no finite numbers.
        lr: of the last step, the highest of the parameter groups.
        tally: what the epoch that is under way has given so far; None between epochs.
        seconds: that the training had taken when it was saved.
        settled: how many of the points of `train.budget` have been passed.
    """

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_confusion: Tensor | None = None
    left_out: int = 0
    lr: float = 0.0
    tally: dict[str, Any] | None = None
    seconds: float = 0.0
    settled: int = 0

    def row(
        self, trained: "TrainedEpoch", figures: Mapping[str, float], names: Sequence[str], processes: Processes
    ) -> dict[str, Any]:
        """The row of results.csv for the epoch that was trained last.

        Args:
            trained: the epoch.
            figures: of its validation; empty where there was none.
            names: of the figures of a validation, which are None in the row where there was none.
            processes: those that train together; each calls this.
        """
        validated = {name: figures.get(name) for name in names}
        return {
            "epoch": self.epoch + 1,
            "step": self.step,
            "train_loss": trained.mean_loss(),
            "val_loss": validated.pop("val_loss"),
            "train_miou": trained.scores(processes).miou,
            "val_miou": validated.pop("val_miou"),
            "val_accuracy": validated.pop("val_accuracy"),
            "lr": self.lr,
            "images_per_second": trained.images_per_second(),
            "data_wait": trained.data_wait(),
            "left_out_steps": trained.left_out,
            **validated,
        }

    def state(self) -> dict[str, Any]:
        """Everything, to be saved."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """What one step of training gave.

    Attributes:
        loss: this process's share of it, on the device.
        fault: whether the step was left out since the loss or a gradient was no finite number; a scalar of bool there.
        confusion: pixels of this process's crops by true and predicted class, C² + 1 int64, ignored ones last.
        lr: the learning rate, the highest of the parameter groups.
    """

    loss: Tensor
    fault: Tensor
    confusion: Tensor
    lr: float


class TrainedEpoch:
    """Adds up what one epoch of training gives, on the device, without waiting for it but in `look_back`."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.losses: list[float] = []
        self._not_looked_at: list[Outcome] = []
        self.confusion = torch.zeros(num_classes**2 + 1, dtype=torch.int64, device=device)
        self.num_classes = num_classes
        self.num_images = 0
        self.left_out = 0
        self.waited = 0.0
        self.started = time.perf_counter()
        self.ended: float | None = None

    def waiting(self, ask: Any) -> Any:
        """Asks for the next batch and adds up the time until it is there."""
        start = time.perf_counter()
        answer = ask()
        self.waited += time.perf_counter() - start
        return answer

    def apart(self, work: Callable[[], None]) -> None:
        """Does something whose time is none of training."""
        start = time.perf_counter()
        work()
        self.started += time.perf_counter() - start

    def add(self, outcome: Outcome, num_images: int) -> None:
        """Counts one step and the crops of all processes in it."""
        self._not_looked_at.append(outcome)
        self.num_images += num_images
        self.confusion += outcome.confusion

    def look_back(self, processes: Processes) -> list[tuple[float, bool]]:
        """Waits for the steps since the last look: the loss of each, over all processes, and whether it was left out.

        Every process must look back behind the same steps.
        """
        outcomes, self._not_looked_at = self._not_looked_at, []
        if not outcomes:
            return []
        shares = torch.stack([outcome.loss for outcome in outcomes])
        faults = torch.stack([outcome.fault for outcome in outcomes])
        losses, faults = processes.sum(torch.stack([shares, faults.to(shares)]).cpu())
        seen = list(zip(losses.tolist(), (faults.bool() | ~losses.isfinite()).tolist(), strict=True))
        self.losses += [loss for loss, _ in seen]
        self.left_out += sum(fault for _, fault in seen)
        return seen

    def end(self) -> None:
        """Stops the clock: what comes behind the last step is no training."""
        self.ended = time.perf_counter()

    def last_loss(self) -> float:
        """The loss of the last step that was looked at."""
        return self.losses[-1]

    def mean_loss(self) -> float:
        """The mean of the steps' finite losses."""
        losses = torch.tensor(self.losses)
        return float(losses[losses.isfinite()].mean())

    def scores(self, processes: Processes) -> Scores:
        """The scores on the crops of all processes, each as the network was when it saw it."""
        square = processes.sum(self.confusion)[:-1].reshape(self.num_classes, self.num_classes)
        return Scores(square.cpu().numpy())

    def images_per_second(self) -> float:
        """Crops a second so far."""
        return self.num_images / self.seconds()

    def data_wait(self) -> float:
        """Share of the time spent waiting for data."""
        return self.waited / self.seconds()

    def seconds(self) -> float:
        """Seconds of training so far."""
        return (self.ended or time.perf_counter()) - self.started

    def state(self, processes: Processes) -> dict[str, Any]:
        """Everything so far, over all processes, to be saved."""
        return {
            "losses": torch.tensor(self.losses),
            "confusion": processes.sum(self.confusion).cpu(),
            "num_images": self.num_images,
            "left_out": self.left_out,
            "waited": self.waited,
            "seconds": self.seconds(),
        }

    @classmethod
    def resumed(cls, state: dict[str, Any] | None, num_classes: int, device: torch.device, leads: bool) -> Self:
        """An epoch that goes on from a state; the counts of all processes go on in the leading one."""
        epoch = cls(num_classes, device)
        if state is not None:
            epoch.losses = state["losses"].tolist()
            epoch.num_images, epoch.left_out = state["num_images"], state["left_out"]
            epoch.waited = state["waited"]
            epoch.started -= state["seconds"]
            if leads:
                epoch.confusion += state["confusion"].to(device)
        return epoch
