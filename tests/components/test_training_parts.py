import copy

import pytest
import torch

from segcli.components.augmentations import AugmentationConfig, Light, Medium, NoAugmentation
from segcli.components.models import ModelOptions, build_network
from segcli.components.optimizers import Adam, AdamW, Lamb, Lion, Muon, RAdam, Sgd
from segcli.components.schedulers import Constant, Cosine, OneCycle, Poly, Step
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task

OPTIMIZERS = [AdamW, Sgd, Adam, RAdam, Lion, Lamb, Muon]


def tiny_network() -> SegmentationNetwork:
    torch.manual_seed(0)
    options = ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8))
    return build_network("Unet", "resnet18", None, options, Task.of("abc"))


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_learns_and_goes_on_from_its_state(kind: type[AdamW]) -> None:
    """40 steps on one batch, of which the last 20 are done twice: from the state as from memory."""
    images, masks = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.zeros(2, 32, 32, dtype=torch.long)
    masks[:, 8:24, 8:24] = 1
    images[:, 0] = (masks * 200 + 20).byte()

    def steps(network: SegmentationNetwork, optimizer: torch.optim.Optimizer) -> list[float]:
        losses = []
        for _ in range(20):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(images), masks)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    network = tiny_network()
    optimizer = kind().build(network)
    first = steps(network, optimizer)
    state = copy.deepcopy((network.state_dict(), optimizer.state_dict()))
    second = steps(network, optimizer)
    assert second[-1] < 0.5 * first[0]
    again = tiny_network()
    resumed = kind().build(again)
    again.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    assert steps(again, resumed) == second


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_groups_split_encoder_and_decay(kind: type[AdamW]) -> None:
    section = kind(lr=0.1, encoder_lr_factor=0.25, weight_decay=0.3)
    network = tiny_network()
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
    assert rates(Step(at=(0.25, 0.75), gamma=0.5), 4) == [2.0, 1.0, 1.0, 0.5]
    assert rates(Step(at=(0.5,), warmup=1 / 3), 6) == pytest.approx([2 / 3, 4 / 3, 2.0, 2.0, 0.2, 0.2])
    assert rates(Constant(warmup=0.5), 6) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    cycle = rates(OneCycle(rise=0.5, start_factor=0.1, end_factor=0.01), 9)
    assert cycle[0] == pytest.approx(0.2)
    assert max(cycle) == pytest.approx(2.0, rel=0.1)
    assert cycle[-1] == pytest.approx(0.002)


def test_presets_have_their_defaults() -> None:
    assert NoAugmentation().build((0, 0, 0), 255, True) is None
    assert NoAugmentation().scale == (1.0, 1.0)
    assert Light().build((0, 0, 0), 255, True) is None
    assert len(Medium().build((0, 0, 0), 255, True).transforms) == 3
    with pytest.raises(ValueError, match="is larger than"):
        Light(scale=(2.0, 1.0))
    assert AugmentationConfig is not None
