"""The counter of host waits itself, since a guard that sees nothing guards nothing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from engine.host_reads import HostReads
from torch import Tensor

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("work", "waits"),
    [
        (lambda x: x.sum().item(), {"item": 1}),
        (lambda x: float(x.sum()) + bool((x > 0).all()), {"item": 2}),
        (lambda x: x[x > 0], {"index": 1}),
        (lambda x: (x > 0).nonzero(), {"nonzero": 1}),
        (lambda x: x.long().bincount(), {"bincount": 1}),
        (lambda x: x.masked_select(x > 0), {"masked_select": 1}),
        (lambda x: x.cpu().numpy(), {"cpu": 1}),
        (lambda x: np.asarray(x), {"numpy": 1}),
        (lambda x: x.tolist(), {"tolist": 1}),
        (lambda x: x.to(CPU), {"to": 1}),
        (lambda x: torch.tensor(3.0, device=CPU), {"tensor": 1}),
        (lambda x: x.to(CPU, non_blocking=True).to(torch.int64).argmax(), {}),
        (lambda x: torch.where(x > 0, x, 0).masked_fill(x < 1, 2), {}),
        (lambda x: x.clone().__setitem__(x > 0, 0), {}),
        (lambda x: torch.zeros(9, device=CPU).scatter_add_(0, x.long(), x), {}),
    ],
)
def test_what_makes_a_host_wait_is_counted(work: Callable[[Tensor], object], waits: dict[str, int]) -> None:
    x = torch.arange(4.0)
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with HostReads() as reads, mode():
            work(x)
        assert dict(reads.waits) == waits
