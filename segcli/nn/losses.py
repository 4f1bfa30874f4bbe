"""The losses as torch modules: logits B×C×H×W and masks B×H×W (int64) in, a scalar out."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcli.errors import ConfigError
from segcli.nn.rmi import one_against_rest


class CrossEntropyLoss(nn.Module):
    """Cross-entropy over the valid pixels; 0 with a gradient of 0 where every pixel is ignored.

    Args:
        weights: one a class, or None. The mean is divided by the sum of the pixels' weights, as torch does.
        label_smoothing: share of the target spread over all classes.
        ignore_index: mask value that counts nowhere.
        hardest: share of the valid pixels, those with the largest loss, over which the mean is taken.
    """

    def __init__(
        self, weights: Sequence[float] | None, label_smoothing: float, ignore_index: int, hardest: float = 1.0
    ) -> None:
        super().__init__()
        self.weights: Tensor | None
        self.register_buffer("weights", None if weights is None else torch.tensor(weights, dtype=torch.float32))
        self.label_smoothing = label_smoothing
        self.ignore_index = ignore_index
        self.hardest = hardest

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Computes the mean over the valid pixels."""
        losses = functional.cross_entropy(
            logits, masks, self.weights, ignore_index=self.ignore_index, label_smoothing=self.label_smoothing,
            reduction="sum" if self.hardest == 1 else "none",
        )  # fmt: skip
        valid = masks != self.ignore_index
        mass = valid.to(losses.dtype) if self.weights is None else self.weights[masks * valid] * valid
        if self.hardest < 1:
            number = max(round(self.hardest * int(valid.sum())), 1)
            losses, places = losses.flatten().topk(number)
            mass = mass.flatten()[places]
        return losses.sum() / mass.sum().clamp(min=torch.finfo(mass.dtype).tiny)


class FocalLoss(nn.Module):
    """Cross-entropy of which each pixel counts by (1 - p)^gamma, p the probability of its true class.

    The mean over the valid pixels. Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, equation 4.

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

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Computes the mean over the valid pixels."""
        valid = masks != self.ignore_index
        truth = masks * valid
        log_p = logits.float().log_softmax(1).gather(1, truth[:, None])[:, 0]
        # 1 - p from the logarithm keeps its digits where p is near 1; the bound keeps the power's slope finite.
        losses = -((-torch.expm1(log_p)).clamp(min=1e-12) ** self.gamma) * log_p
        if self.weights is not None:
            losses = losses * self.weights[truth]
        return (losses * valid).sum() / valid.sum().clamp(min=1)


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

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)
        self.weights = tuple(weights)

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Computes the sum."""
        # Sums over a batch's pixels want more digits than 16 bits have, and some losses fail with them.
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float()
            # Some answer a batch without valid pixels with an empty tensor: its sum is the 0 that is meant.
            parts = [loss(logits, masks).sum() * weight for loss, weight in zip(self.losses, self.weights, strict=True)]
            return torch.stack(parts).sum()


def class_weights(rule: str | Sequence[float], class_share: Sequence[float]) -> list[float] | None:
    """The weight of each class by a rule of the config, or the given ones.

    Args:
        rule: `none`, `log`, `median_frequency`, `effective_number`, or one weight a class.
        class_share: each class's share (0…1) of the valid training pixels; a class never seen weighs 0
            under `median_frequency` and `effective_number`.

    Raises:
        ConfigError: if the number of given weights is not that of the classes.
    """
    if rule == "none":
        return None
    if rule == "log":
        return [1 / math.log(1.02 + share) for share in class_share]
    if rule == "median_frequency":
        seen = sorted(share for share in class_share if share > 0)
        middle = len(seen) // 2
        median = (seen[middle] + seen[~middle]) / 2
        return [median / share if share > 0 else 0.0 for share in class_share]
    if rule == "effective_number":
        return _effective_number(class_share)
    if len(rule) != len(class_share):
        raise ConfigError(
            f"loss.class_weights: {len(rule)} weights for {len(class_share)} classes; give one weight a class"
        )
    return [float(weight) for weight in rule]


def _effective_number(class_share: Sequence[float]) -> list[float]:
    """One over the effective number of each class's pixels, with a mean of 1 over the classes seen.

    Of N pixels a class of share s has N (1 - (1 - 1/N)^(s N)) effective ones, which is N (1 - e^-s) for large N.
    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", 2019.
    """
    inverse = [1 / -math.expm1(-share) if share > 0 else 0.0 for share in class_share]
    seen = sum(share > 0 for share in class_share)
    return [weight * seen / max(sum(inverse), 1e-300) for weight in inverse]
