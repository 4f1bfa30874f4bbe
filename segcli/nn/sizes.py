"""Sizes of images in arithmetic that exporters keep free; Python's own `min`, `max` and `round` would freeze them."""

from typing import cast

import torch


def larger(first: int, second: int) -> int:
    """The larger of two whole numbers, either of which may be traced."""
    if _traced():
        return (first + second + abs(first - second)) // 2
    return cast(int, torch.sym_max(first, second))


def smaller(first: int, second: int) -> int:
    """The smaller of two whole numbers, either of which may be traced."""
    if _traced():
        return (first + second - abs(first - second)) // 2
    return cast(int, torch.sym_min(first, second))


def divided(number: int, divisor: int) -> int:
    """A quotient of positive whole numbers, rounded to the nearest one and halves upwards."""
    return (2 * number + divisor) // (2 * divisor)


def _traced() -> bool:
    """Whether sizes are tensors now, of which a comparison would become a constant; torch.export has symbols."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]
