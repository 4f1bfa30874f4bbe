"""Tensors that a step changes before it is known whether it counts."""

from collections.abc import Iterable

import torch
from torch import Tensor

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Undo:
    """Copies of tensors in memory of their own, to put them back.

    Args:
        tensors: those that a step changes in place.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        groups: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            bits = _BITS[tensor.element_size()]
            groups.setdefault(bits, []).append(tensor.detach().view(bits))
        self._live = list(groups.values())
        self._kept: list[list[Tensor]] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Copies them as they are now."""
        if not self._kept:
            self._kept = [[torch.empty_like(tensor) for tensor in live] for live in self._live]
        for live, kept in zip(self._live, self._kept, strict=True):
            torch._foreach_copy_(kept, live)

    @torch.no_grad()
    def put_back(self) -> None:
        """Makes them what they were."""
        for live, kept in zip(self._live, self._kept, strict=True):
            torch._foreach_copy_(live, kept)

    @torch.no_grad()
    def put_back_where(self, undone: Tensor) -> None:
        """Makes them what they were where a scalar of bool on their device says so; the copies are used up.

        As integers of the same bits they are multiplied by 0 or 1 and added: no float that is not finite gets in the
        way, and there are few kernels for many tensors.
        """
        for live, kept in zip(self._live, self._kept, strict=True):
            torch._foreach_mul_(kept, undone.to(kept[0].dtype))
            torch._foreach_mul_(live, (~undone).to(live[0].dtype))
            torch._foreach_add_(live, kept)
