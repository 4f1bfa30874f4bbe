import pytest
import torch

from segcli.components.augmentations import AugmentationConfig, Light, Medium, NoAugmentation
from segcli.components.models import ModelOptions, build_network
from segcli.components.optimizers import AdamW, Sgd
from segcli.components.schedulers import Constant, Cosine, OneCycle, Poly
from segcli.task import Task


@pytest.mark.parametrize(
    "section",
    [AdamW(lr=0.1, encoder_lr_factor=0.25, weight_decay=0.3), Sgd(lr=0.1, encoder_lr_factor=0.25, weight_decay=0.3)],
)
def test_groups_split_encoder_and_decay(section: AdamW | Sgd) -> None:
    options = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8))
    network = build_network("Unet", "resnet18", None, options, Task.of("abc"))
    optimizer = section.build(network)
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert len(rates) == len(list(network.parameters()))
    encoder = network.model.encoder
    assert rates[id(encoder.conv1.weight)] == (pytest.approx(0.025), 0.3)
    assert rates[id(encoder.bn1.weight)] == (pytest.approx(0.025), 0.0)
    assert rates[id(network.model.segmentation_head[0].weight)] == (0.1, 0.3)
    assert rates[id(network.model.segmentation_head[0].bias)] == (0.1, 0.0)


def rates(section: OneCycle | Cosine | Poly | Constant, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = section.build(optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(found) < steps else None
    return found


def test_schedules_by_hand() -> None:
    assert rates(Constant(), 3) == [2.0, 2.0, 2.0]
    assert rates(Cosine(), 4) == pytest.approx([2.0, 1.7071068, 1.0, 0.2928932])
    assert rates(Poly(power=2.0), 4) == pytest.approx([2.0, 2 * 0.75**2, 0.5, 2 * 0.25**2])
    assert rates(Constant(warmup=0.5), 6) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    cycle = rates(OneCycle(rise=0.5, start_factor=0.1, end_factor=0.01), 9)
    assert cycle[0] == pytest.approx(0.2)
    assert max(cycle) == pytest.approx(2.0, rel=0.1)
    assert cycle[-1] == pytest.approx(0.002)


def test_presets_have_their_defaults() -> None:
    assert NoAugmentation().build() is None
    assert NoAugmentation().scale == (1.0, 1.0)
    assert Light().build() is None
    assert len(Medium().build().transforms) == 3
    with pytest.raises(ValueError, match="is larger than"):
        Light(scale=(2.0, 1.0))
    assert AugmentationConfig is not None
