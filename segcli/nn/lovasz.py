"""Lovász-Softmax: a surrogate of the IoU whose slopes follow the order of the errors."""

import torch
from torch import Tensor, nn

_ABOVE_ALL_ERRORS = 0x3F80_0001  # the bits of the first float32 above 1


class LovaszLoss(nn.Module):
    """The mean over the classes that occur of the Lovász extension of 1 - IoU, on the softmax' errors.

    Each pixel's error is weighed by how much 1 - IoU grows when the pixel joins those with larger errors. Source:
    Berman et al., "The Lovász-Softmax loss", 2018, equation 9 and algorithm 1; the growth is written out, since the
    difference of two neighbouring values of 1 - IoU leaves few digits.

    Args:
        per_image: one loss an image, then their mean, instead of one over the batch. An image without valid pixels
            counts 0.
        ignore_index: mask value that counts nowhere.
    """

    def __init__(self, per_image: bool, ignore_index: int) -> None:
        super().__init__()
        self.per_image = per_image
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Computes the loss: logits B×C×H×W and masks B×H×W in, a scalar out; 0 where every pixel is ignored."""
        probabilities = logits.float().softmax(1)
        groups = (
            zip(torch.split(probabilities, 1), torch.split(masks, 1), strict=True)
            if self.per_image
            else [(probabilities, masks)]
        )
        return torch.stack([self._of_pixels(p.movedim(1, 0).flatten(1), mask.flatten()) for p, mask in groups]).mean()

    def _of_pixels(self, probabilities: Tensor, masks: Tensor) -> Tensor:
        """The loss over a set of P pixels: C×P and P."""
        valid = masks != self.ignore_index
        bins = torch.where(valid, masks, len(probabilities))
        numbers = torch.zeros(len(probabilities) + 1, dtype=masks.dtype, device=masks.device)
        numbers = numbers.scatter_add_(0, bins, torch.ones_like(bins))[:-1]
        losses, counted = [], []
        for index, (p, number) in enumerate(zip(probabilities.unbind(), numbers.unbind(), strict=True)):
            if masks.is_cpu and not number:
                continue  # a GPU would have to wait to be asked; there the class is computed, and weighs nothing
            truth = (masks == index) & valid
            errors = (truth.float() - p).abs() * valid  # ignored pixels get 0, which weighs nothing
            # a matrix product would add up in a row, which leaves five digits; sum() adds in pairs
            losses.append((errors * _slopes(errors.detach(), truth, number)).sum())
            counted.append(number > 0)
        if not losses:
            return 0 * probabilities.sum()
        occurs = torch.stack(counted)
        return (torch.stack(losses) * occurs).sum() / occurs.sum().clamp(min=1)


def _slopes(errors: Tensor, truth: Tensor, number: Tensor) -> Tensor:
    """What each pixel adds to 1 - IoU when it joins those with larger errors: of P errors, `number` of them true."""
    # As integers the bits of positive floats keep their order, and torch sorts integers far faster, if upwards.
    order = (_ABOVE_ALL_ERRORS - errors.view(torch.int32)).sort().indices
    is_true = truth[order]
    found = is_true.cumsum(0, dtype=torch.int32)
    others = torch.arange(1, len(errors) + 1, dtype=torch.int32, device=errors.device) - found
    union = (number + others).float()
    # A true pixel takes one from the intersection, any other adds one to the union.
    growth = torch.where(is_true, 1 / union, (number - found) / (union * (union - 1)).clamp(min=1))
    return torch.empty_like(errors).scatter_(0, order, growth)
