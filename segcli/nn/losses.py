"""The losses as torch modules: logits B×C×H×W and masks B×H×W (int64) in, a scalar out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcli.nn.rmi import one_against_rest


class PartialLoss(nn.Module, ABC):
    """A loss of an effective batch that may come in parts: micro-batches of a step, or those of several processes.

    The loss is the sum of the parts' `total` over the sum of their `mass`.
    """

    @abstractmethod
    def mass(self, masks: Tensor) -> Tensor:
        """What the total is divided by: masks B×H×W (integers) in, a float64 scalar out."""

    @abstractmethod
    def total(self, logits: Tensor, masks: Tensor) -> Tensor:
        """What is to be divided by the mass: logits B×C×H×W and masks B×H×W (int64) in, a scalar out."""


class CrossEntropyLoss(PartialLoss):
    """Cross-entropy over the valid pixels of the effective batch, however it is split.

    Args:
        weights: one a class, or None. The mean is divided by the sum of the pixels' weights, as torch does.
        label_smoothing: share of the target spread over all classes.
        ignore_index: mask value that counts nowhere.
    """

    def __init__(self, weights: Sequence[float] | None, label_smoothing: float, ignore_index: int) -> None:
        super().__init__()
        self.weights: Tensor | None
        self.register_buffer("weights", None if weights is None else torch.tensor(weights, dtype=torch.float32))
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index

    def mass(self, masks: Tensor) -> Tensor:
        """The number of valid pixels, or the sum of their classes' weights."""
        return _exact_sum(_pixel_weights(masks, self.weights, self.ignore_index))

    def total(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The sum over the valid pixels."""
        return functional.cross_entropy(
            logits, masks, self.weights, ignore_index=self.ignore_index, label_smoothing=self.label_smoothing,
            reduction="sum",
        )  # fmt: skip


class FocalLoss(PartialLoss):
    """Cross-entropy of which each pixel counts by (1 - p)^gamma, p the probability of its true class.

    The mean over the valid pixels of the effective batch, however it is split. Source: Lin et al., "Focal Loss for
    Dense Object Detection", 2017, equation 4.

    Args:
        gamma: 0 is cross-entropy.
        weights: one a class (alpha in the paper), or None.
        ignore_index: mask value that counts nowhere.
    """

    def __init__(self, gamma: float, weights: Sequence[float] | None, ignore_index: int) -> None:
        super().__init__()
        self.weights: Tensor | None
        self.register_buffer("weights", None if weights is None else torch.tensor(weights, dtype=torch.float32))
        self.gamma = gamma
        self.ignore_index = ignore_index

    def mass(self, masks: Tensor) -> Tensor:
        """The number of valid pixels."""
        return _exact_sum(masks != self.ignore_index)

    def total(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The sum over the valid pixels."""
        valid = masks != self.ignore_index
        truth = masks * valid
        log_p = logits.float().log_softmax(1).gather(1, truth[:, None])[:, 0]
        # 1 - p from the logarithm keeps its digits where p is near 1; the bound keeps the power's slope finite.
        losses = -((-torch.expm1(log_p)).clamp(min=1e-12) ** self.gamma) * log_p
        return (losses * _pixel_weights(masks, self.weights, self.ignore_index)).sum()


class PerMicroBatch(PartialLoss):
    """A loss that is no mean over pixels: each micro-batch has its own, and counts by its number of images.

    So the loss of an effective batch depends on how it is split.

    Args:
        loss: maps logits and masks to a scalar.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def mass(self, masks: Tensor) -> Tensor:
        """The number of images."""
        return _exact_sum(torch.ones(len(masks), device=masks.device))

    def total(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The loss of this micro-batch, times its number of images."""
        loss: Tensor = self.loss(logits, masks)
        return loss * len(masks)


class HardestPixelsLoss(nn.Module):
    """Cross-entropy over the valid pixels with the largest loss: online hard example mining, Shrivastava et al. 2016.

    Args:
        weights: one a class, or None. The mean is divided by the sum of the pixels' weights.
        label_smoothing: share of the target spread over all classes.
        ignore_index: mask value that counts nowhere.
        share: of the valid pixels, over which the mean is taken; one pixel at least.
    """

    def __init__(
        self, weights: Sequence[float] | None, label_smoothing: float, ignore_index: int, share: float
    ) -> None:
        super().__init__()
        self.weights: Tensor | None
        self.register_buffer("weights", None if weights is None else torch.tensor(weights, dtype=torch.float32))
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index
        self.share = share

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Computes the mean over the hardest pixels."""
        losses = functional.cross_entropy(
            logits, masks, self.weights, ignore_index=self.ignore_index, label_smoothing=self.label_smoothing,
            reduction="none",
        )  # fmt: skip
        number = max(round(self.share * int((masks != self.ignore_index).sum())), 1)
        largest, places = losses.flatten().topk(number)
        weights = _pixel_weights(masks, self.weights, self.ignore_index).flatten()[places]
        return _divided(largest.sum(), _exact_sum(weights))


class BceDiceLoss(nn.Module):
    """Binary cross-entropy plus Dice, each class against all others; of two classes only the second is asked for.

    Cross-entropy is averaged over valid pixels and classes, Dice (over the batch) over the classes that occur.

    Args:
        smooth: added to Dice's numerator and denominator.
        ignore_index: mask value that counts nowhere.
    """

    def __init__(self, smooth: float, ignore_index: int) -> None:
        super().__init__()
        self.smooth = smooth
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Computes the sum of both."""
        valid = masks != self.ignore_index
        logits, truth = one_against_rest(logits, masks * valid)
        logits, shown = logits.float(), valid[:, None]
        entropies = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") * shown
        entropy = entropies.sum() / (valid.sum() * truth.shape[1]).clamp(min=1)
        p, truth = logits.sigmoid() * shown, truth * shown
        both, each = (p * truth).sum((0, 2, 3)), (p + truth).sum((0, 2, 3))
        occurs = truth.sum((0, 2, 3)) > 0
        dice = 1 - (2 * both + self.smooth) / (each + self.smooth).clamp(min=1e-7)
        return entropy + (dice * occurs).sum() / occurs.sum().clamp(min=1)


class WeightedSum(nn.Module):
    """The sum of losses, each times its weight, in float32 whatever the precision of the logits."""

    def __init__(self, losses: Sequence[PartialLoss], weights: Sequence[float]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)
        self.weights = tuple(weights)

    def masses(self, masks: Tensor) -> Tensor:
        """What each term is divided by (float64, one a term), to be summed over the parts of an effective batch.

        Args:
            masks: B×H×W of any integer type.
        """
        return torch.stack([loss.mass(masks) for loss in self._terms()])

    def forward(self, logits: Tensor, masks: Tensor, masses: Tensor | None = None) -> Tensor:
        """Computes the sum.

        Args:
            logits: B×C×H×W.
            masks: B×H×W, int64.
            masses: those of the whole effective batch of which this is a part: then the parts' results add up to the
                loss of the whole. Without it this is the whole.

        Returns:
            A scalar. A term whose mass is 0, since every pixel is ignored, is 0 with a gradient of 0.
        """
        masses = self.masses(masks) if masses is None else masses
        # Sums over a batch's pixels want more digits than 16 bits have, and some losses fail with them.
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float()
            parts = [
                _divided(loss.total(logits, masks), mass) * weight
                for loss, mass, weight in zip(self._terms(), masses, self.weights, strict=True)
            ]
            return torch.stack(parts).sum()

    def _terms(self) -> Iterator[PartialLoss]:
        return cast(Iterator[PartialLoss], iter(self.losses))


def _divided(total: Tensor, mass: Tensor) -> Tensor:
    """Total over mass; 0 with a gradient of 0 where the mass is 0."""
    return total / torch.where(mass > 0, mass, math.inf).to(total)


def _pixel_weights(masks: Tensor, weights: Tensor | None, ignore_index: int) -> Tensor:
    """The weight of each pixel's class (B×H×W float32); 0 where it is ignored, 1 elsewhere without weights."""
    valid = masks != ignore_index
    return valid.float() if weights is None else weights.to(masks.device)[(masks * valid).long()] * valid


def _exact_sum(values: Tensor) -> Tensor:
    """The sum in float64; on the CPU where the device has no such type."""
    return values.sum().cpu().double() if values.device.type == "mps" else values.sum(dtype=torch.float64)
