"""timm's Muon in a number format that the device has."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.optim import muon

from segcli.nn.bf16 import has_native_bf16


class Muon(muon.Muon):  # type: ignore[misc]
    """Momentum made orthogonal in bf16 where the device has it natively, else in single precision.

    timm's own makes it so in bf16 everywhere. A CPU that only imitates bf16 spends 6.3 s a step on a network of five
    million weights so, and 0.2 s in single precision (`benchmarks/README.md`, training speed).
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Moves the weights a step."""
        if has_native_bf16(self.param_groups[0]["params"][0].device):
            return super().step(closure)
        in_bf16 = muon.zeropower_via_newtonschulz  # which the step finds by its name; it cannot be told the format
        muon.zeropower_via_newtonschulz = partial(in_bf16, dtype=torch.float32)
        try:
            return super().step(closure)
        finally:
            muon.zeropower_via_newtonschulz = in_bf16
