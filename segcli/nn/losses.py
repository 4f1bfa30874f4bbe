"""The losses as torch modules: logits B×C×H×W and masks B×H×W (int64) in, a scalar out."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcli.nn.by_image import by_image, one_against_rest, one_hot


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
        smallest_side: height and width that the loss needs; smaller images are left out of it.
    """

    def __init__(self, loss: nn.Module, smallest_side: int = 1) -> None:
        super().__init__()
        self.loss = loss
        self.smallest_side = smallest_side

    def mass(self, masks: Tensor) -> Tensor:
        """The number of images that are large enough."""
        return _exact_sum(torch.full((len(masks),), float(self._takes(masks)), device=masks.device))

    def total(self, logits: Tensor, masks: Tensor) -> Tensor:
        """The loss of this micro-batch, times its number of images."""
        if not self._takes(masks):
            return 0 * logits.sum()
        loss: Tensor = self.loss(logits, masks)
        return loss * len(masks)

    def _takes(self, masks: Tensor) -> bool:
        return min(masks.shape[-2:]) >= self.smallest_side


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
        valid = masks != self.ignore_index
        # As many as it can be are picked, and those beyond the share of the valid ones count nothing: a GPU would have
        # to wait for a number that is read from it.
        most = max(round(self.share * masks.numel()), 1)
        number = (self.share * _exact_sum(valid)).round().clamp(min=1).to(masks.device)
        largest, places = losses.masked_fill(~valid, -1).flatten().topk(most)
        counted = torch.arange(most, device=masks.device) < number
        weights = _pixel_weights(masks, self.weights, self.ignore_index).flatten()[places] * counted
        return _divided((largest * counted * valid.flatten()[places]).sum(), _exact_sum(weights))


class OverlapLoss(nn.Module):
    """One minus the overlap of prediction and truth over the batch, averaged over all classes.

    With TP, FP and FN as sums of probabilities over the valid pixels a class has the overlap (TP + smooth) / (TP +
    alpha FP + beta FN + smooth); a class without true pixels counts 0. With both at 0.5 this is Dice (Milletari et al.
    2016), else Tversky (Salehi et al. 2017, equation 4).

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives.
        gamma: power of the loss (Abraham & Khan 2019).
        smooth: added to numerator and denominator.
        ignore_index: mask value that counts nowhere.
    """

    def __init__(self, alpha: float, beta: float, gamma: float, smooth: float, ignore_index: int) -> None:
        super().__init__()
        self.alpha, self.beta, self.gamma, self.smooth = alpha, beta, gamma, smooth
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Computes the loss; 0 where every pixel is ignored."""
        sums = by_image(self._sums, logits, masks).sum(0)
        right, predicted, true = sums.view(3, -1).unbind()
        found = right + self.alpha * (predicted - right) + self.beta * (true - right)
        overlap = (right + self.smooth) / (found + self.smooth).clamp(min=1e-7)
        loss: Tensor = ((1 - overlap) * (true > 0)).mean() ** self.gamma
        return loss

    def _sums(self, logits: Tensor, masks: Tensor) -> Tensor:
        """By image and class, the probabilities where the class is, those of all valid pixels, and its pixels."""
        p = logits.float().softmax(1) * (masks != self.ignore_index)[:, None]
        truth = one_hot(masks, logits.shape[1], self.ignore_index)
        return torch.cat([(p * truth).sum((2, 3)), p.sum((2, 3)), truth.sum((2, 3))], 1)


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
        sums = by_image(self._sums, logits, masks).sum(0)
        both, each, true = sums[1:].view(3, -1).unbind()
        entropy = sums[0] / ((masks != self.ignore_index).sum() * len(true)).clamp(min=1)
        dice = 1 - (2 * both + self.smooth) / (each + self.smooth).clamp(min=1e-7)
        occurs = true > 0
        return entropy + (dice * occurs).sum() / occurs.sum().clamp(min=1)

    def _sums(self, logits: Tensor, masks: Tensor) -> Tensor:
        """By image, the cross-entropies, and by class what Dice is made of."""
        shown = (masks != self.ignore_index)[:, None]
        logits, truth = one_against_rest(logits.float(), masks, self.ignore_index)
        entropies = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") * shown
        p = logits.sigmoid() * shown
        sums = (p * truth).sum((2, 3)), (p + truth).sum((2, 3)), truth.sum((2, 3))
        return torch.cat([entropies.sum((1, 2, 3))[:, None], *sums], 1)


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
        masses = masses.to(torch.float32).to(logits.device, non_blocking=True)
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
    return total / torch.where(mass > 0, mass, math.inf).to(total.dtype)


def _pixel_weights(masks: Tensor, weights: Tensor | None, ignore_index: int) -> Tensor:
    """The weight of each pixel's class (B×H×W float32); 0 where it is ignored, 1 elsewhere without weights."""
    valid = masks != ignore_index
    return valid.float() if weights is None else weights.to(masks.device)[(masks * valid).long()] * valid


def _exact_sum(values: Tensor) -> Tensor:
    """The sum in float64; on the CPU where the device has no such type."""
    return values.sum().cpu().double() if values.device.type == "mps" else values.sum(dtype=torch.float64)
