"""The losses as torch modules: logits B×C×H×W and masks B×H×W (int64) in, a scalar out."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcli.errors import ConfigError


class CrossEntropyLoss(nn.Module):
    """Cross-entropy over the valid pixels; 0 with a gradient of 0 where every pixel is ignored.

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

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Computes the mean over the valid pixels."""
        total = functional.cross_entropy(
            logits, masks, self.weights, ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing, reduction="sum",
        )  # fmt: skip
        valid = masks != self.ignore_index
        if self.weights is None:
            return total / valid.sum().clamp(min=1)
        mass = (self.weights[masks * valid] * valid).sum()
        return total / mass.clamp(min=torch.finfo(mass.dtype).tiny)


class WeightedSum(nn.Module):
    """The sum of losses, each times its weight."""

    def __init__(self, losses: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)
        self.weights = tuple(weights)

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Computes the sum."""
        # Some losses answer a batch without valid pixels with an empty tensor: its sum is the 0 that is meant.
        parts = [loss(logits, masks).sum() * weight for loss, weight in zip(self.losses, self.weights, strict=True)]
        return torch.stack(parts).sum()


def class_weights(rule: str | Sequence[float], class_share: Sequence[float]) -> list[float] | None:
    """The weight of each class by a rule of the config, or the given ones.

    Args:
        rule: `none`, `log`, `median_frequency`, or one weight a class.
        class_share: each class's share (0…1) of the valid training pixels; a class never seen weighs 0
            under `median_frequency`.

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
    if len(rule) != len(class_share):
        raise ConfigError(
            f"loss.class_weights: {len(rule)} weights for {len(class_share)} classes; give one weight a class"
        )
    return [float(weight) for weight in rule]
