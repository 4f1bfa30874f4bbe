"""Layers padded by constants give what timm's give that ask for the size."""

import pytest
import torch
from timm.layers import AvgPool2dSame, Conv2dSame, ScaledStdConv2dSame, StdConv2dSame
from timm.layers.pool2d_same import MaxPool2dSame
from torch import nn

from segcli.nn.same_padding import padded_by_constants


@pytest.mark.parametrize(
    "layer",
    [
        Conv2dSame(3, 4, (5, 3), (2, 1), bias=False),
        Conv2dSame(3, 3, 3, 1, dilation=2, groups=3),
        StdConv2dSame(3, 4, 7, 2),
        ScaledStdConv2dSame(3, 4, 3, 2),
        AvgPool2dSame(2, 1),
        AvgPool2dSame(3, 2, count_include_pad=False),
        MaxPool2dSame(3, 2),
    ],
    ids=lambda layer: type(layer).__name__,
)
@torch.no_grad()
def test_constants_pad_as_the_size_would(layer: nn.Module) -> None:
    x = torch.randn(2, 3, 32, 48, generator=torch.manual_seed(0)) - 5
    expected = layer.eval()(x)
    padded = padded_by_constants(layer)
    assert padded is not None
    assert torch.equal(padded(x), expected)


def test_other_layers_stay() -> None:
    assert padded_by_constants(nn.Conv2d(3, 3, 3)) is None
    assert padded_by_constants(StdConv2dSame(3, 3, 3, 1)) is None  # its padding is a constant already
