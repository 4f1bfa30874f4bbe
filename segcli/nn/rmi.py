"""Region mutual information: a loss on how patches of the prediction and of the truth vary together."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segcli.nn.by_image import by_image, one_against_rest

_RIDGE = 5e-4  # added to the variances, so that a matrix of flat patches can be inverted


class RmiLoss(nn.Module):
    """Minus a lower bound of the mutual information between patches of truth and prediction, plus binary cross-entropy.

    Each pixel stands for the vector of the `radius`² pixels around it. Given the prediction P of a class, the truth Y
    keeps the variance M = S_Y - Cov(Y, P) S_P^-1 Cov(Y, P)^T; the bound is -1/2 log det M. Per image and class it is
    divided by the vector's length; classes are added. Everything but the cross-entropy is computed in float64, on maps
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
        """Computes the loss: logits B×C×H×W and masks B×H×W in, a scalar out; 0 where every pixel is ignored.

        Height and width must be such that a patch has more than one place in each direction.
        """
        entropies, bounds = by_image(self._parts, logits, masks).unbind(1)
        number = (masks != self.ignore_index).sum()
        entropy = entropies.sum() / number.clamp(min=1)
        return self.balance * entropy + (1 - self.balance) * bounds.mean() * (number > 0)

    def _parts(self, logits: Tensor, masks: Tensor) -> Tensor:
        """By image, the sum of the cross-entropies and the bound (B×2)."""
        shown = (masks != self.ignore_index)[:, None]
        logits, truth = one_against_rest(logits.float(), masks, self.ignore_index)
        entropies = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none") * shown
        bounds = self._variance_left(logits.sigmoid() * shown, truth)
        return torch.stack([entropies.sum((1, 2, 3)), bounds.to(entropies.dtype)], 1)

    def _variance_left(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        """By image, 1/2 log det M, over the vector's length and added over classes."""
        predictions, truths = self._patches(probabilities), self._patches(truth)
        number = truths.shape[-1]
        truths = truths - truths.mean(-1, keepdim=True)
        predictions = predictions - predictions.mean(-1, keepdim=True)
        ridge = torch.eye(self.radius**2, dtype=truths.dtype, device=truths.device) * _RIDGE
        of_truth = truths @ truths.mT / number
        of_prediction = predictions @ predictions.mT / number + ridge
        between = truths @ predictions.mT / number
        # With S_P = L L^T, what the prediction tells is the square of L^-1 Cov^T. None of this asks whether it went
        # well, for which a GPU would have to wait: the ridge sees to it.
        told = torch.linalg.solve_triangular(torch.linalg.cholesky_ex(of_prediction)[0], between.mT, upper=False)
        factor = torch.linalg.cholesky_ex(of_truth - told.mT @ told + ridge)[0]
        log_determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        bounds: Tensor = (log_determinant / 2 / self.radius**2).sum(1)
        return bounds

    def _patches(self, maps: Tensor) -> Tensor:
        """Vectors of all patches of pooled maps (B×C×H×W) as B×C×radius²×N, in float64."""
        pooled = (functional.avg_pool2d(maps, self.pooling, ceil_mode=True) if self.pooling > 1 else maps).double()
        height, width = (side - self.radius + 1 for side in pooled.shape[-2:])
        shifted = [
            pooled[..., y : y + height, x : x + width].flatten(2)
            for y in range(self.radius)
            for x in range(self.radius)
        ]
        return torch.stack(shifted, 2)
