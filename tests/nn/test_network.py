import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional

from segcli.components.models import ARCHITECTURES, ModelOptions, build_network, wrap
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)


def network(num_channels: int) -> SegmentationNetwork:
    torch.manual_seed(0)
    model = smp.Unet(
        "resnet18", encoder_depth=3, encoder_weights=None, decoder_channels=(8, 8, 8), classes=num_channels
    )
    return wrap(model.eval(), "Unet", MEAN, STD)


def images(height: int, width: int, batch: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, height, width), dtype=torch.uint8, generator=torch.manual_seed(1))


@torch.inference_mode()
def test_it_equals_the_model_on_normalised_and_padded_images() -> None:
    net, raw = network(3), images(21, 35)
    x = (raw.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    expected = net.model(functional.pad(x, (0, 5, 0, 3)))[..., :21, :35]
    torch.testing.assert_close(net(raw), expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_two_classes_have_the_softmax_of_a_sigmoid() -> None:
    net, raw = network(1), images(16, 24)
    logits = net(raw)
    z = logits[:, 1]
    assert logits.shape == (2, 2, 16, 24)
    assert z.std() > 0
    assert torch.equal(logits[:, 0], torch.zeros_like(z))
    torch.testing.assert_close(logits.softmax(1), torch.stack([1 - z.sigmoid(), z.sigmoid()], 1))


@torch.inference_mode()
@pytest.mark.parametrize("name", sorted(ARCHITECTURES.values()))
def test_every_architecture_takes_any_size(name: str) -> None:
    encoder = "tu-vit_tiny_patch16_224" if name == "DPT" else "resnet18"
    net = build_network(name, encoder, None, ModelOptions(), Task.of("abc")).eval()
    for height, width in ((45, 70), (1, 1)):
        assert net(images(height, width, 1)).shape == (1, 3, height, width)


def built(name: str, num_classes: int, auxiliary: float = 0.4) -> SegmentationNetwork:
    torch.manual_seed(0)
    encoder = "tu-vit_tiny_patch16_224" if name == "DPT" else "resnet18"
    return build_network(name, encoder, None, ModelOptions(auxiliary=auxiliary), Task.of("abc"[:num_classes]))


@pytest.mark.parametrize("name", sorted(ARCHITECTURES.values()))
def test_every_architecture_trains_with_an_auxiliary_head(name: str) -> None:
    """The logits are those without the head, and its gradients end in the encoder's last stage but one."""
    net, raw = built(name, 3), images(45, 70)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        expected = net.model(normalised(net, raw))[..., :45, :70]
        torch.manual_seed(1)
        logits, rough = net.train()(raw)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert rough.shape == logits.shape
    assert net.auxiliary_weight == 0.4
    (net.auxiliary_weight * rough.square().mean()).backward()
    touched = {n for n, parameter in net.named_parameters() if parameter.grad is not None and parameter.grad.any()}
    assert any(n.startswith("auxiliary.") for n in touched)
    assert {n.partition(".")[2].partition(".")[0] for n in touched if not n.startswith("auxiliary.")} == {"encoder"}
    for module in net.modules():
        module.train(not isinstance(module, torch.nn.BatchNorm2d))  # as with train.freeze_batch_norm
    assert [tuple(part.shape) for part in net(raw)] == [(2, 3, 45, 70)] * 2
    net.eval()
    with torch.inference_mode():
        assert net(raw).shape == (2, 3, 45, 70)


def normalised(net: SegmentationNetwork, raw: torch.Tensor) -> torch.Tensor:
    height, width = (net.padded(side) for side in raw.shape[-2:])
    x = raw.float() * net.scale + net.shift
    return functional.pad(x, (0, width - raw.shape[-1], 0, height - raw.shape[-2]))


def test_an_auxiliary_head_by_hand() -> None:
    """Of two classes it gives [0, z]; z is its last convolution's output, enlarged to the padded size and cut."""
    net, raw = built("Unet", 2), images(20, 40)
    net.train()
    net.auxiliary[3].p = 0.0
    feature = net.model.encoder(normalised(net, raw))[-2]
    assert feature.shape == (2, 256, 2, 4)
    z = net.auxiliary(feature)
    assert z.shape == (2, 1, 2, 4)
    assert net.auxiliary[0].out_channels == 64
    enlarged = functional.interpolate(z, size=(32, 64), mode="bilinear", align_corners=False)[..., :20, :40]
    rough = net(raw)[1]
    torch.testing.assert_close(rough[:, 1:], enlarged, rtol=1e-4, atol=1e-4)
    assert not rough[:, 0].any()


def test_an_auxiliary_head_is_the_networks_and_not_the_models() -> None:
    """The smp model is the same with and without it, so a bundle is too."""
    with_head, without = built("Unet", 3), built("Unet", 3, auxiliary=0.0)
    states = with_head.model.state_dict(), without.model.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    extra = with_head.state_dict().keys() - without.state_dict().keys()
    assert extra
    assert all(name.startswith("auxiliary.") for name in extra)
    assert without.auxiliary_weight == 0
    assert isinstance(without.train()(images(32, 32)), torch.Tensor)
