"""Seeds of what libraries draw."""

import hashlib
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
