"""Depthwise convolutions that ignore autocast."""

import copy

import pytest
import segmentation_models_pytorch as smp
import torch
from timm.layers import create_conv2d
from torch import nn

from segcli.nn.depthwise import depthwise_in_single_precision


@pytest.mark.parametrize("padding", ["", "same"])  # two classes of layers
def test_gradients_of_a_depthwise_layer_under_autocast_are_those_of_fp32(padding: str) -> None:
    layer = create_conv2d(8, 8, 5, stride=2, padding=padding, depthwise=True)
    images = torch.randn(2, 8, 15, 15).bfloat16().requires_grad_()
    reference, given = copy.deepcopy(layer).double(), images.detach().double().requires_grad_()
    exact = reference(given)
    gradient = torch.randn_like(exact).bfloat16()
    exact.backward(gradient.double())

    depthwise_in_single_precision(layer)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(images)
    assert output.dtype == torch.bfloat16
    output.backward(gradient)
    assert images.grad is not None
    assert given.grad is not None
    torch.testing.assert_close(output.double(), exact, rtol=2**-8, atol=1e-6)
    torch.testing.assert_close(images.grad.double(), given.grad, rtol=2**-8, atol=1e-6)
    # plain bf16 rounds it, and is a thousand times as far away
    torch.testing.assert_close(layer.weight.grad.double(), reference.weight.grad, rtol=1e-5, atol=1e-5)


def test_all_other_layers_and_all_names_stay() -> None:
    model = smp.DeepLabV3Plus("tu-tf_efficientnet_lite0", encoder_weights=None, classes=3)
    kinds, names = [type(module) for module in model.modules()], list(model.state_dict())
    depthwise_in_single_precision(model)
    changed = [module for module, kind in zip(model.modules(), kinds, strict=True) if type(module) is not kind]
    assert changed
    assert {module for module in model.modules() if isinstance(module, nn.Conv2d) and module.groups > 1} == set(changed)
    assert list(model.state_dict()) == names


def test_without_autocast_and_in_copies_nothing_changes() -> None:
    model = smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None, classes=3).eval()
    images = torch.randn(1, 3, 64, 64)
    wanted = model(images)
    depthwise_in_single_precision(model)
    depthwise_in_single_precision(model)  # twice is once
    assert torch.equal(copy.deepcopy(model)(images), wanted)


def test_compiles() -> None:
    layer = create_conv2d(8, 8, 3, padding="same", stride=2, depthwise=True)
    depthwise_in_single_precision(layer)
    images = torch.randn(1, 8, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(torch.compile(layer, backend="aot_eager", fullgraph=True)(images), layer(images))
