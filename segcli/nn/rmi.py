"""Region mutual information: a loss on how patches of the prediction and of the truth vary together."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_RIDGE = 5e-4  # added to the variances, so that a matrix of flat patches can be inverted


class RmiLoss(nn.Module):
    """Minus a lower bound of the mutual information between patches of truth and prediction, plus binary cross-entropy.

    Each pixel stands for the vector of the `radius`² pixels around it. Given the prediction P of a class, the truth Y
    keeps the variance M = S_Y - Cov(Y, P) S_P^-1 Cov(Y, P)^T; the bound is -1/2 log det M. Per image and class it is
    divided by the vector's length; classes are added. Everything but the cross-entropy is computed in float64 on maps
    that are pooled first. Source: Zhao et al., "Region Mutual Information Loss for Semantic Segmentation", 2019,
    equations 10 to 16.

    Args:
        radius: side of the patches.
        pooling: factor by which probabilities and truth are averaged down first.
        balance: share of the cross-entropy (lambda in the paper); the rest is the bound's, which is the same for a
            prediction and its negative.
        ignore_index: mask value that counts nowhere: probability and truth are 0 there.
    """

    def __init__(self, radius: int, pooling: int, balance: float, ignore_index: int) -> None:
        super().__init__()
        self.radius = radius
        self.pooling = pooling
        self.balance = balance
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Computes the loss: logits B×C×H×W and masks B×H×W in, a scalar out; 0 where every pixel is ignored."""
        valid = masks != self.ignore_index
        logits, truth = one_against_rest(logits, masks * valid)
        entropies = functional.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
        entropy = (entropies * valid[:, None]).sum() / valid.sum().clamp(min=1)
        rest = self._variance_left(logits, truth, valid) if valid.any() else 0 * logits.sum()
        return self.balance * entropy + (1 - self.balance) * rest

    def _variance_left(self, logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        """The mean over images of 1/2 log det M, over the vector's length and added over classes."""
        shown = valid[:, None]
        predictions, truths = self._patches(logits.float().sigmoid() * shown), self._patches(truth * shown)
        number = truths.shape[-1]
        truths = truths - truths.mean(-1, keepdim=True)
        predictions = predictions - predictions.mean(-1, keepdim=True)
        ridge = torch.eye(self.radius**2, dtype=truths.dtype, device=truths.device) * _RIDGE
        of_truth = truths @ truths.mT / number
        of_prediction = predictions @ predictions.mT / number + ridge
        between = truths @ predictions.mT / number
        left = of_truth - between @ torch.linalg.solve(of_prediction, between.mT)
        factor = torch.linalg.cholesky_ex((left + left.mT) / 2 + ridge)[0]
        log_determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        bound: Tensor = (log_determinant / 2 / self.radius**2).mean(0).sum()
        return bound.to(logits.dtype)

    def _patches(self, maps: Tensor) -> Tensor:
        """Vectors of all patches of pooled maps (B×C×H×W) as B×C×radius²×N, in float64."""
        pooled = (
            functional.avg_pool2d(maps.double(), self.pooling, ceil_mode=True) if self.pooling > 1 else maps.double()
        )
        height, width = (side - self.radius + 1 for side in pooled.shape[-2:])
        shifted = [
            pooled[..., y : y + height, x : x + width].flatten(2)
            for y in range(self.radius)
            for x in range(self.radius)
        ]
        return torch.stack(shifted, 2)


def one_against_rest(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and truth of each class against all others: B×C×H×W each, the truth 0 or 1 as float32.

    Two classes with logits [0, z] are one question, whose logit is z: then C is 1.
    """
    if logits.shape[1] == 2:
        return (logits[:, 1:] - logits[:, :1]), (masks == 1)[:, None].float()
    return logits, functional.one_hot(masks, logits.shape[1]).movedim(-1, 1).float()
