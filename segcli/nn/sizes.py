"""Sizes of images in arithmetic that exporters keep free; Python's own `min`, `max` and `round` would freeze them."""

from typing import cast

import torch


def larger(first: int, second: int) -> int:
    """The larger of two whole numbers, either of which may be traced."""
    if torch.jit.is_tracing():  # sizes are tensors then, and a comparison would become a constant
        return (first + second + abs(first - second)) // 2
    return cast(int, torch.sym_max(first, second))


def smaller(first: int, second: int) -> int:
    """The smaller of two whole numbers, either of which may be traced."""
    if torch.jit.is_tracing():
        return (first + second - abs(first - second)) // 2
    return cast(int, torch.sym_min(first, second))


def divided(number: int, divisor: int) -> int:
    """A quotient of positive whole numbers, rounded to the nearest one and halves upwards."""
    return (2 * number + divisor) // (2 * divisor)
