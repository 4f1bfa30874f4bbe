"""The number format of training: forward and backward in it, steps along gradients that are finite."""

import torch

from segcli.engine.device import autocast


class Precision:
    """The forward and backward pass in a number format, with a loss scaler where it is fp16.

    Args:
        name: fp32, bf16 or fp16.
        device: where it is computed.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> torch.autocast:
        """Runs a block in the number format."""
        return autocast(self.name, self.device)

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradients of a loss (a scalar) to those that are there."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer, loss: torch.Tensor, largest_norm: float | None = None) -> bool:
        """Takes one step along the gradients, unless one of them or the loss is no finite number.

        Args:
            optimizer: holds the parameters.
            loss: a scalar.
            largest_norm: gradients of a larger norm, over all parameters, are scaled down to it.

        Returns:
            Whether the step was taken.
        """
        self.scaler.unscale_(optimizer)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, largest_norm) if largest_norm else _norm(parameters)
        finite = bool(torch.isfinite(norm) & torch.isfinite(loss))
        if finite:
            self.scaler.step(optimizer)
        self.scaler.update()
        return finite


def _norm(parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    return torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
