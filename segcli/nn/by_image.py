"""Figures of each image of a batch, whose gradient keeps no copy of the logits."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Figures = Callable[[Tensor, Tensor], Tensor]

_AT_ONCE = 2**20
"""Logits that are worked on at a time, where that is more than one image."""


def by_image(figures: Figures, logits: Tensor, masks: Tensor) -> Tensor:
    """Works out figures of a few images at a time, on the way forth and again on the way back.

    What is needed on the way, one-hot masks and the like, is never there for more than these images; for the whole
    batch there are the logits and, on the way back, their gradient.

    Args:
        figures: maps logits b×C×H×W and masks b×H×W to b×F; each row is made of its own image alone.
        logits: B×C×H×W.
        masks: B×H×W.

    Returns:
        B×F.
    """
    return cast(Tensor, _ByImage.apply(figures, logits, masks))


class _ByImage(Function):
    @staticmethod
    def forward(ctx: Any, figures: Figures, logits: Tensor, masks: Tensor) -> Tensor:
        ctx.figures = figures
        ctx.save_for_backward(logits, masks)
        number = _number_at_once(logits)
        return torch.cat(
            [figures(*some) for some in zip(torch.split(logits, number), torch.split(masks, number), strict=True)]
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[None, Tensor, None]:
        logits, masks = ctx.saved_tensors
        gradient, number = torch.empty_like(logits), _number_at_once(logits)
        parts = (torch.split(tensor, number) for tensor in (logits, masks, slopes, gradient))
        for some, truth, slope, place in zip(*parts, strict=True):
            with torch.enable_grad():
                leaf = some.detach().requires_grad_()
                place.copy_(torch.autograd.grad(ctx.figures(leaf, truth), leaf, slope)[0])
        return None, gradient, None


def _number_at_once(logits: Tensor) -> int:
    return max(_AT_ONCE // logits[0].numel(), 1)


def one_hot(masks: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Where each class is: masks B×H×W in, B×C×H×W bool out; an ignored pixel has none."""
    classes = torch.arange(num_classes, device=masks.device)[:, None, None]
    return (masks[:, None] == classes) & (masks != ignore_index)[:, None]


def one_against_rest(logits: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Logits and truth of each class against all others: B×C×H×W each, the truth 0 or 1 in the logits' type.

    Two classes with logits [0, z] are one question, whose logit is z: then C is 1.
    """
    truth = one_hot(masks, logits.shape[1], ignore_index)
    if logits.shape[1] == 2:
        logits, truth = logits[:, 1:] - logits[:, :1], truth[:, 1:]
    return logits, truth.to(logits.dtype)
