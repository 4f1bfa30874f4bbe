"""What training and validation add up on the way."""

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from segcli.engine.metrics import Logits, Scores
from segcli.io.images import Mask


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        epoch: epochs done.
        step: steps done.
        rows: a row of figures for each epoch done.
        best_epoch: the epoch (from 1) with the best val_miou; 0 before the first.
        best_confusion: its confusion matrix on the val split.
        left_out: steps that were left out in a row, since loss or gradients were no finite numbers.
    """

    epoch: int = 0
    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_confusion: Tensor | None = None
    left_out: int = 0


class TrainedEpoch:
    """Adds up what one epoch of training gives, on the device, without waiting for it."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.losses: list[Tensor] = []
        self.confusion = torch.zeros(num_classes**2 + 1, dtype=torch.int64, device=device)
        self.num_classes = num_classes
        self.num_images = 0
        self.left_out = 0
        self.waited = 0.0
        self.started = time.perf_counter()

    def waiting(self, ask: Any) -> Any:
        """Asks for the next batch and adds up the time until it is there."""
        start = time.perf_counter()
        answer = ask()
        self.waited += time.perf_counter() - start
        return answer

    def add(self, loss: Tensor, logits: Tensor, masks: Tensor, ignore_index: int, taken: bool = True) -> None:
        """Counts one step; one that was not taken counts in no mean."""
        self.losses.append(loss)
        self.left_out += not taken
        self.num_images += len(masks)
        cells = masks.long() * self.num_classes + logits.argmax(dim=1)
        cells[masks == ignore_index] = self.num_classes**2
        self.confusion += torch.bincount(cells.flatten(), minlength=self.num_classes**2 + 1)

    def last_loss(self) -> float:
        """The loss of the last step."""
        return float(self.losses[-1])

    def mean_loss(self) -> float:
        """The mean of the steps' losses."""
        losses = torch.stack(self.losses)
        return float(losses[losses.isfinite()].mean())

    def scores(self) -> Scores:
        """The scores on the crops, each as the network was when it saw it."""
        square = self.confusion[:-1].reshape(self.num_classes, self.num_classes)
        return Scores(square.cpu().numpy())

    def images_per_second(self) -> float:
        """Crops a second so far."""
        return self.num_images / (time.perf_counter() - self.started)

    def data_wait(self) -> float:
        """Share of the time spent waiting for data."""
        return self.waited / (time.perf_counter() - self.started)


class MeanLoss:
    """Accumulates the loss of each image of an evaluation."""

    def __init__(self, loss: nn.Module, device: torch.device) -> None:
        self.loss = loss
        self.device = device
        self.losses: list[float] = []

    def add(self, name: str, logits: Logits, mask: Mask) -> None:
        """Takes one image."""
        truth = torch.from_numpy(mask[None].astype("int64")).to(self.device)
        with torch.inference_mode():
            self.losses.append(float(self.loss(torch.from_numpy(logits[None]).to(self.device), truth)))

    def mean(self) -> float:
        """The mean over the images."""
        return sum(self.losses) / len(self.losses)
