"""Networks with norms folded into convolutions compute the same."""

from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from segcli.components.models import ARCHITECTURES, ModelOptions, build_network
from segcli.nn.depthwise import depthwise_in_single_precision
from segcli.nn.folding import folded
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task

NORMS = nn.modules.batchnorm._BatchNorm
TASK = Task.of("abc")


def trained(architecture: str, encoder: str, **options: Any) -> SegmentationNetwork:
    """A network whose norms have seen something."""
    torch.manual_seed(0)
    network = build_network(architecture, encoder, None, ModelOptions(**options), TASK)
    for module in network.modules():
        if isinstance(module, NORMS):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def equal(network: SegmentationNetwork, images: Tensor) -> SegmentationNetwork:
    """Folds, and checks that a copy was folded which computes the same."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fast = folded(network)
    with torch.no_grad():
        expected, found = network(images), fast(images)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    return fast


@pytest.mark.parametrize(
    ("architecture", "encoder"),
    [(name, "tu-vit_tiny_patch16_224" if name == "DPT" else "mobilenet_v2") for name in ARCHITECTURES.values()]
    + [("Unet", "tu-tf_efficientnet_lite0"), ("Linknet", "tu-regnety_002"), ("FPN", "efficientnet-b0"),
       ("FPN", "resnet18"), ("Unet", "densenet121")],
)  # fmt: skip
def test_every_architecture_computes_the_same(architecture: str, encoder: str) -> None:
    images = torch.randint(0, 256, (2, 3, 70, 97), dtype=torch.uint8)
    network = trained(architecture, encoder)
    fast = equal(network, images)
    assert sum(isinstance(module, NORMS) for module in fast.modules()) < max(
        sum(isinstance(module, NORMS) for module in network.modules()), 1
    )


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "tu-tf_efficientnet_lite0"])
def test_no_norm_is_left_behind_a_convolution(encoder: str) -> None:
    network = trained("Unet", encoder, auxiliary=0.4)
    depthwise_in_single_precision(network)
    fast = equal(network, torch.randint(0, 256, (1, 3, 64, 32), dtype=torch.uint8))
    assert not any(isinstance(module, NORMS) for module in fast.modules())
    assert not any(parameter.requires_grad for parameter in fast.parameters())


class Odd(nn.Module):
    """What must not be folded: a result that is used twice, a convolution that is, a norm that is; and what may."""

    def __init__(self) -> None:
        super().__init__()
        self.read_twice, self.norm_a = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.run_twice, self.norm_b, self.norm_c = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.first, self.second, self.shared = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.grouped, self.norm_d = nn.ConvTranspose2d(3, 3, 1, groups=3), nn.BatchNorm2d(3)
        self.up, self.norm_e = nn.ConvTranspose2d(3, 3, 1, bias=False), BatchNormAct2d(3, act_layer=nn.ReLU)

    def forward(self, x: Tensor) -> Tensor:
        y = self.read_twice(x)
        y = y.sigmoid() + self.norm_a(y)
        y = self.norm_b(self.run_twice(y)) + self.norm_c(self.run_twice(2 * y))
        y = self.shared(self.second(self.shared(self.first(y))))
        return self.norm_e(self.up(self.norm_d(self.grouped(y))))


def test_what_is_used_otherwise_stays() -> None:
    network = trained("Unet", "resnet18")
    odd = Odd().eval()
    for module in odd.modules():
        if isinstance(module, NORMS):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    network.model = odd
    fast = equal(network, torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8))
    left = {name for name, module in fast.model.named_modules() if isinstance(module, NORMS)}
    assert left == {"norm_a", "norm_b", "norm_c", "shared", "norm_d"}
