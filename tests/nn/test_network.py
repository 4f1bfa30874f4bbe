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
