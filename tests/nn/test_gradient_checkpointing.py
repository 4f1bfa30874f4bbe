import copy

import pytest
import torch

from segcli.components.models import ModelOptions, build_network
from segcli.errors import ConfigError
from segcli.nn.gradient_checkpointing import enable_gradient_checkpointing
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task


def built(encoder: str, architecture: str = "Unet") -> SegmentationNetwork:
    torch.manual_seed(0)
    return build_network(architecture, encoder, None, ModelOptions(), Task.of("abc")).train()


def trained_twice(network: SegmentationNetwork) -> int:
    """Two steps' gradients, added up; returns how many modules of the encoder ran within the backward pass."""
    again = 0

    def count(*_: object) -> None:
        nonlocal again
        again += torch._C._current_graph_task_id() != -1

    hooks = [module.register_forward_pre_hook(count) for module in network.model.encoder.modules()]
    torch.manual_seed(1)
    for seed in (2, 3):
        images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        network(images).square().mean().backward()
    for hook in hooks:
        hook.remove()
    return again


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [("Unet", "tu-resnet10t"), ("Unet", "tf_efficientnet_lite0"), ("DPT", "vit_tiny_patch16_224")],
)
def test_gradients_and_running_means_are_the_same(architecture: str, encoder: str) -> None:
    plain = built(encoder, architecture)
    saving = copy.deepcopy(plain)
    enable_gradient_checkpointing(saving)
    assert trained_twice(plain) == 0
    assert trained_twice(saving) > 0
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(saving.get_parameter(name).grad, parameter.grad, rtol=1e-5, atol=1e-7)
    states = plain.state_dict(), saving.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(plain.eval()(images), saving.eval()(images))


@pytest.mark.parametrize(
    ("encoder", "cure"),
    [
        ("resnet18", "encoder resnet18 has none; set encoder to tu-resnet18"),
        ("efficientnet-b0", "set encoder to tu-efficientnet_b0"),
        ("mobilenet_v2", "choose one of timm's encoders"),
        ("tu-hrnet_w18_small", "choose another encoder"),
    ],
)
def test_an_encoder_without_it_is_named_with_the_cure(encoder: str, cure: str) -> None:
    with pytest.raises(ConfigError, match=f"train.gradient_checkpointing: .*{cure}"):
        enable_gradient_checkpointing(built(encoder))
