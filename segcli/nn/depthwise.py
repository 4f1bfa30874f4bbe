"""Depthwise convolutions in single precision, for CPUs: their bf16 gradients are many times slower there."""

import torch
from torch import Tensor, nn


def depthwise_in_single_precision(network: nn.Module) -> None:
    """Lets a network's depthwise convolutions ignore autocast; all else, names of tensors included, stays as it is.

    On CPUs with bf16 in hardware only the forward pass has fast kernels in it: the gradients of a 5×5 convolution,
    or of one with a stride, take 4 to 100 times as long as in fp32 (`benchmarks/README.md`, training speed).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.__class__ = _in_single_precision(type(module))  # type: ignore[assignment]


def depthwise_as_any(network: nn.Module) -> None:
    """Undoes `depthwise_in_single_precision`: without gradients these layers are fast in bf16 as well."""
    for module in network.modules():
        if isinstance(module, _InSinglePrecision):
            module.__class__ = type(module).__bases__[1]


class _InSinglePrecision(nn.Module):
    """Goes before a layer's own class: its forward pass with autocast switched off."""

    def forward(self, x: Tensor) -> Tensor:
        """Computes the layer in fp32 where autocast is on; the result has the input's dtype in any case."""
        if not torch.is_autocast_enabled(x.device.type):
            return self._forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return self._forward(x.float()).to(x.dtype)

    def _forward(self, x: Tensor) -> Tensor:
        output: Tensor = super().forward(x)
        return output


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def _in_single_precision(layer: type[nn.Module]) -> type[nn.Module]:
    if issubclass(layer, _InSinglePrecision):
        return layer
    return _CLASSES.setdefault(layer, type(layer.__name__, (_InSinglePrecision, layer), {}))
