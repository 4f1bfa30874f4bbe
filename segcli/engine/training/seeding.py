"""What makes a run repeat itself: seeds of what libraries draw, and kernels that always add up in the same order."""

import hashlib
import os
import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seeds the generators that libraries draw from, for the initial weights."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def seed_of(*numbers: int) -> int:
    """A seed of 32 bits that is a function of some numbers."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest())


def repeat_exactly(on: bool) -> None:
    """Lets a GPU compute by kernels that give the same bits each time, or by the fastest; before it first computes.

    Where torch has no such kernel it warns, and goes on with the one that there is.
    """
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as torch asks for
    torch.use_deterministic_algorithms(on, warn_only=True)
    torch.backends.cudnn.deterministic = on
