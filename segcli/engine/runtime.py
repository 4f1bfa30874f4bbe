"""Where and how it is computed: device, number format, threads, seeds, versions."""

import os
import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np
import torch

import segcli
from segcli.errors import UsageError

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device that a name means; `auto` is an accelerator if there is one.

    Raises:
        UsageError: if this machine does not have it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not available[name]:
        raise UsageError(f"device {name} is not available on this machine; use --device cpu, or auto")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> str:
    """The number format that a name means; `auto` is bf16 where the device has it natively, else fp32.

    Raises:
        UsageError: if the device cannot train in it.
    """
    if name == "auto":
        return "bf16" if _has_native_bf16(device) else "fp32"
    if name == "fp16" and device.type != "cuda":
        raise UsageError(f"precision fp16 trains on cuda only, and the device is {device.type}; use bf16 or fp32")
    return name


def _has_native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    return False


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

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Runs the block in the number format."""
        with torch.autocast(self.device.type, _DTYPES.get(self.name), enabled=self.name in _DTYPES):
            yield

    def step(self, loss: torch.Tensor, optimizer: torch.optim.Optimizer, largest_norm: float | None = None) -> bool:
        """Computes the gradients of a loss and takes one step along them, unless one is no finite number.

        Args:
            loss: a scalar.
            optimizer: holds the parameters.
            largest_norm: gradients of a larger norm, over all parameters, are scaled down to it.

        Returns:
            Whether the step was taken.
        """
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
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


def seed_everything(seed: int) -> None:
    """Seeds the generators that libraries draw from: initial weights, dropout."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


def versions() -> dict[str, str]:
    """What a model was made with."""
    names = ("torch", "segmentation-models-pytorch", "timm", "albumentations", "numpy")
    return {
        "segcli": segcli.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def pick_workers(number: int | None) -> int:
    """How many processes read images: the given number, else one fewer than cores, at least 1 and 8 at most."""
    return min(max((os.cpu_count() or 1) - 1, 1), 8) if number is None else number
