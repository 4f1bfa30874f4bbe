"""Padding like TensorFlow's "same" by constants: timm computes it of the size, in a way that torch.export cannot store.

A layer of stride s and kernel k, dilated by d, is padded so that x pixels become ⌈x / s⌉; where s divides x that takes
d·(k - 1) + 1 - s pixels, whatever x is. A network whose input is padded to its stride has such sides everywhere.
"""

from typing import Any

import torch
from timm.layers import AvgPool2dSame, Conv2dSame, ScaledStdConv2dSame, StdConv2dSame
from timm.layers.pool2d_same import MaxPool2dSame
from torch import nn


def padded_by_constants(layer: nn.Module) -> nn.Module | None:
    """A layer that gives the same, without asking for the size; None for layers that do not pad so."""
    if isinstance(layer, Conv2dSame):
        plain: nn.Module = nn.Conv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, 0, layer.dilation, layer.groups,
            layer.bias is not None,
        )  # fmt: skip
        plain.load_state_dict(layer.state_dict())
        return _behind_padding(plain, layer)
    if isinstance(layer, StdConv2dSame | ScaledStdConv2dSame) and layer.same_pad:
        layer.same_pad = False
        return _behind_padding(layer, layer)
    if isinstance(layer, AvgPool2dSame):
        plain = nn.AvgPool2d(layer.kernel_size, layer.stride, 0, layer.ceil_mode, layer.count_include_pad)
        return _behind_padding(plain, layer)
    if isinstance(layer, MaxPool2dSame):
        plain = nn.MaxPool2d(layer.kernel_size, layer.stride, 0, layer.dilation, ceil_mode=layer.ceil_mode)
        return _behind_padding(plain, layer, -torch.inf)
    return None


def _behind_padding(plain: nn.Module, layer: Any, value: float = 0.0) -> nn.Module:
    dilations = _pair(getattr(layer, "dilation", 1))  # average pooling has none
    sides: list[int] = []
    for axis in (1, 0):  # constants are given for the width first
        kernel, stride = _pair(layer.kernel_size)[axis], _pair(layer.stride)[axis]
        amount = max(dilations[axis] * (kernel - 1) + 1 - stride, 0)
        sides += [amount // 2, amount - amount // 2]
    return nn.Sequential(nn.ConstantPad2d((sides[0], sides[1], sides[2], sides[3]), value), plain)


def _pair(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)
