"""The number format of training: forward and backward in it, steps along gradients that are finite."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from segcli.engine.device import autocast
from segcli.engine.training.undo import Undo

_LEAST_SCALE = 1.0
"""The loss scaler of fp16 halves its scale until the gradients fit; below this they are no finite numbers at any."""


class Verdict(NamedTuple):
    """What became of a step: scalars of bool, on the device.

    Attributes:
        taken: whether the weights moved.
        fault: whether they did not, and not for the loss scaler of fp16 trying its way down to a scale that fits.
    """

    taken: Tensor
    fault: Tensor


class Precision:
    """The forward and backward pass in a number format, with a loss scaler where it is fp16.

    Args:
        name: fp32, bf16 or fp16.
        device: where it is computed.

    Attributes:
        may_wait: whether the verdict on a step may be read at once, since that costs nothing.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        self.may_wait = device.type == "cpu"

    def autocast(self) -> torch.autocast:
        """Runs a block in the number format."""
        return autocast(self.name, self.device)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of a loss (a scalar) to those that are there."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: Optimizer, loss: Tensor, largest_norm: float | None = None) -> Verdict:
        """Takes one step along the gradients, unless one of them or the loss is no finite number.

        Nobody waits for the verdict on an accelerator: a fused optimiser leaves out the step by itself, and what any
        other did is undone, its copies beside it meanwhile; where it counts steps on the host, it counts this one too.

        Args:
            optimizer: holds the parameters.
            loss: a scalar.
            largest_norm: gradients of a larger norm, over all parameters, are scaled down to it.
        """
        self.scaler.unscale_(optimizer)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, largest_norm) if largest_norm else _norm(parameters)
        taken = torch.isfinite(norm) & torch.isfinite(loss)
        if _is_fused(optimizer):
            _begin_momentum(optimizer)
            optimizer.found_inf = (~taken).float()  # type: ignore[attr-defined]  # torch's word to its fused kernels
            optimizer.step()
        elif not self.may_wait:
            _step_unless(~taken, optimizer)
        elif taken:
            optimizer.step()
        self.scaler.update()
        return Verdict(taken, ~taken & ~self._backs_off(loss))

    def waits_for(self, optimizer: Optimizer) -> bool:
        """Whether the verdict is read before the weights move."""
        return self.may_wait and not _is_fused(optimizer)

    def _backs_off(self, loss: Tensor) -> Tensor:
        """Whether gradients that are not finite are so for a scale which is still to fall."""
        if not self.scaler.is_enabled():
            return torch.zeros_like(loss, dtype=torch.bool)
        scale = self.scaler.scale(torch.ones_like(loss))  # by itself, without a read
        return torch.isfinite(loss) & (scale >= _LEAST_SCALE)


def _is_fused(optimizer: Optimizer) -> bool:
    """Whether an optimiser is one of torch's fused ones, which leave out a step by a flag on the device."""
    return all(group.get("fused") for group in optimizer.param_groups)


def _step_unless(fault: Tensor, optimizer: Optimizer) -> None:
    """Takes a step and, without a read, puts weights and state back where there is a fault (a scalar of bool)."""
    moved = _moved_by(optimizer)
    undo = Undo(moved)
    undo.keep()
    optimizer.step()
    undo.put_back_where(fault)
    known = set(map(id, moved))
    for tensor in _moved_by(optimizer):
        if id(tensor) not in known:  # it was begun in this step
            tensor.masked_fill_(fault, 0)


def _moved_by(optimizer: Optimizer) -> list[Tensor]:
    """The weights that have gradients, and what is kept of them on their device."""
    found: list[Tensor] = []
    for parameter in (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None):
        kept = optimizer.state.get(parameter, {}).values()
        found += [parameter, *(t for t in kept if isinstance(t, Tensor) and t.device == parameter.device)]
    return found


def _begin_momentum(optimizer: Optimizer) -> None:
    """Starts SGD's momentum at 0: its fused kernel finds what lay in memory where a first step was left out."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group.get("momentum") else ():
            state = optimizer.state[parameter]
            if parameter.grad is not None and state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)


def _norm(parameters: list[Parameter]) -> Tensor:
    return torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
