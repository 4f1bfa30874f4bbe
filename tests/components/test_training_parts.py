import copy
import math

import pytest
import torch

from segcli.components.augmentations import Light, Medium, NoAugmentation
from segcli.components.models import ModelOptions, build_network
from segcli.components.optimizers import Adam, AdamW, Lamb, Lion, Muon, RAdam, Sgd
from segcli.components.schedulers import Constant, Cosine, OneCycle, Plateau, Poly, SchedulerConfig, Step
from segcli.components.section import sections_in
from segcli.errors import ConfigError
from segcli.nn.network import SegmentationNetwork
from segcli.nn.plateau import PlateauSchedule
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
    rates = groups_by_parameter(optimizer)
    assert len(rates) == len(list(network.parameters()))
    encoder = network.model.encoder
    assert rates[id(encoder.conv1.weight)] == (pytest.approx(0.025), 0.3)
    assert rates[id(encoder.bn1.weight)] == (pytest.approx(0.025), 0.0)
    assert rates[id(network.model.segmentation_head[0].weight)] == (0.1, 0.3)
    assert rates[id(network.model.segmentation_head[0].bias)] == (0.1, 0.0)


def groups_by_parameter(optimizer: torch.optim.Optimizer) -> dict[int, tuple[float, float]]:
    return {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_rate_falls_from_each_layer_to_the_one_before(kind: type[AdamW]) -> None:
    network = tiny_network()
    optimizer = kind(lr=0.1, encoder_lr_factor=0.5, layer_decay=0.5, weight_decay=0.3).build(network)
    found = groups_by_parameter(optimizer)
    assert len(found) == len(list(network.parameters()))
    encoder = network.model.encoder  # a stem and 8 blocks
    assert found[id(encoder.layer4[1].conv1.weight)] == (pytest.approx(0.05), 0.3)
    assert found[id(encoder.layer4[1].bn1.weight)] == (pytest.approx(0.05), 0.0)
    assert found[id(encoder.layer4[0].conv1.weight)] == (pytest.approx(0.025), 0.3)
    assert found[id(encoder.layer1[0].conv1.weight)] == (pytest.approx(0.05 / 2**7), 0.3)
    assert found[id(encoder.conv1.weight)] == (pytest.approx(0.05 / 2**8), 0.3)
    assert found[id(network.model.segmentation_head[0].weight)] == (0.1, 0.3)
    assert len(optimizer.param_groups) <= 2 * (9 + 1)
    assert len(kind(layer_decay=1).build(network).param_groups) <= 2


def test_tokens_of_a_transformer_do_not_decay() -> None:
    network = build_network("DPT", "vit_tiny_patch16_224", None, ModelOptions(), Task.of("abc"))
    found = groups_by_parameter(AdamW(weight_decay=0.3, layer_decay=0.9).build(network))
    transformer = network.model.encoder.model
    assert found[id(transformer.cls_token)] == found[id(transformer.pos_embed)] == (pytest.approx(1e-3 * 0.9**12), 0.0)
    assert found[id(transformer.patch_embed.proj.weight)] == (pytest.approx(1e-3 * 0.9**12), 0.3)
    assert found[id(transformer.norm.weight)] == (pytest.approx(1e-3), 0.0)


def test_an_encoder_without_numbers_is_told_apart() -> None:
    network = build_network("Unet", "tu-regnety_002", None, ModelOptions(), Task.of("abc"))
    assert len(AdamW().build(network).param_groups) == 2
    with pytest.raises(ConfigError, match="optimizer.layer_decay: the names of this encoder's parameters do not"):
        AdamW(layer_decay=0.8).build(network)


def rates(section: OneCycle | Cosine | Poly | Constant | Plateau, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = section.build(optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
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


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("section", sections_in(SchedulerConfig))
def test_a_schedule_moves_the_rate_alone(section: type[OneCycle], kind: type[AdamW]) -> None:
    """Momentum, betas, weight decay and all else stay what the config says."""
    optimizer = kind().build(tiny_network())

    def settings() -> list[dict[str, object]]:
        moved = {"params", "lr", "initial_lr", "max_lr", "min_lr", "step"}  # lamb counts its steps there
        return [{key: value for key, value in group.items() if key not in moved} for group in optimizer.param_groups]

    before = copy.deepcopy(settings())
    scheduler = section().build(optimizer, 8)
    for _ in range(8):
        assert settings() == before
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("kind", [AdamW, Sgd, Muon])
def test_a_cycle_of_momentum_falls_while_the_rate_rises_and_goes_back(kind: type[AdamW | Sgd | Muon]) -> None:
    optimizer = kind().build(tiny_network())
    scheduler = OneCycle(rise=0.5, cycle_momentum=True).build(optimizer, 9)
    found = []
    for _ in range(9):
        group = optimizer.param_groups[0]
        found.append(group["momentum"] if kind is Sgd else group["betas"][0])
        optimizer.step()
        scheduler.step()
    # a rise of 3.5 steps and a fall of 4.5, along halves of a cosine between 0.95 and 0.85
    rise = [0.9 + 0.05 * math.cos(math.pi * step / 3.5) for step in range(4)]
    fall = [0.9 - 0.05 * math.cos(math.pi * (step - 3.5) / 4.5) for step in range(4, 9)]
    assert found == pytest.approx([*rise, *fall])


def test_schedules_of_few_steps_by_hand() -> None:
    for section in (OneCycle(), OneCycle(rise=0.9), Constant(warmup=0.9), Cosine(warmup=0.9), Plateau(warmup=0.9)):
        assert rates(section, 1) == [2.0]
    for rise in (0.1, 1 / 3, 0.5, 2 / 3, 0.9):
        assert rates(OneCycle(rise=rise), 2) == [2.0, 2.0]
        assert max(rates(OneCycle(rise=rise), 3)) > 1.0
    assert rates(OneCycle(rise=2 / 3, start_factor=0.5, end_factor=0.1), 3) == pytest.approx([1.0, 2.0, 0.1])
    assert rates(Cosine(), 2) == pytest.approx([2.0, 1.0])
    assert rates(Cosine(), 3) == pytest.approx([2.0, 1.5, 0.5])
    assert rates(Cosine(warmup=0.9), 2) == [1.0, 2.0]
    assert rates(Poly(power=1.0), 2) == pytest.approx([2.0, 1.0])
    assert rates(Poly(power=1.0), 3) == pytest.approx([2.0, 4 / 3, 2 / 3])
    assert rates(Step(), 2) == [2.0, 2.0]
    assert rates(Step(), 3) == pytest.approx([2.0, 2.0, 0.2])
    assert rates(Plateau(warmup=0.5), 3) == pytest.approx([2 / 3, 4 / 3, 2.0])


def plateau(steps_an_epoch: int, values: list[float], **options: float) -> list[tuple[float, float]]:
    """The rates of two groups at each step; after each epoch the schedule goes on from its state in a new one."""
    section = Plateau(factor=0.5, patience=2, **options)

    def built() -> tuple[torch.optim.Optimizer, PlateauSchedule]:
        groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (2.0, 8.0)]
        optimizer = torch.optim.SGD(groups, lr=1.0)
        scheduler = section.build(optimizer, steps_an_epoch * len(values))
        assert isinstance(scheduler, PlateauSchedule)
        return optimizer, scheduler

    found = []
    optimizer, scheduler = built()
    for value in values:
        for _ in range(steps_an_epoch):
            assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
            found.append(tuple(scheduler.get_last_lr()))
            optimizer.step()
            scheduler.step()
        scheduler.epoch_ended(value)
        states = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
        optimizer, scheduler = built()
        optimizer.step()  # torch warns where a schedule steps before its optimiser ever did
        optimizer.load_state_dict(states[0])
        scheduler.load_state_dict(states[1])
        assert scheduler.state_dict() == states[1]
    return found


def test_plateau_by_hand() -> None:
    # 0.5 and 0.5 are no gain over 0.5: the third epoch's end halves the rates, and again that of the fifth
    found = plateau(2, [0.5, 0.5, 0.5, 0.4, 0.5, 0.6, 0.6])
    assert [rate for rate, _ in found] == [2.0] * 6 + [1.0] * 4 + [0.5] * 4
    assert all(second == 4 * first for first, second in found)
    # gains of 0.1 are none where 0.15 is asked for, until they add up
    assert [rate for rate, _ in plateau(1, [0.5, 0.6, 0.7, 0.8, 0.8, 0.1], min_delta=0.15)] == [2.0] * 5 + [1.0]
    # epochs that end in the warm-up (4 of 8 steps) cost no patience
    rising = [rate for rate, _ in plateau(2, [0.9, 0.1, 0.1, 0.1], warmup=0.5)]
    assert rising == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0, 2.0, 1.0, 1.0])


def test_presets_have_their_defaults() -> None:
    assert NoAugmentation().build((0, 0, 0), 255, (8, 8)) is None
    assert NoAugmentation().scale == (1.0, 1.0)
    assert Light().build((0, 0, 0), 255, (8, 8)) is None
    assert len(Medium().build((0, 0, 0), 255, (8, 8)).transforms) == 3
    with pytest.raises(ValueError, match="is larger than"):
        Light(scale=(2.0, 1.0))


def test_rare_classes_cover_less_than_half_of_an_even_share() -> None:
    task = Task.of(["road", "car", "pole", "sign"])
    assert Light().pasted_classes(task, [0.7, 0.125, 0.12, 0.0]) == (2, 3)
    assert Light(copy_paste_classes=("sign", "road")).pasted_classes(task, [0.25] * 4) == (3, 0)
    with pytest.raises(ConfigError, match=r"augmentation.copy_paste_classes: unknown class 'cars'; did you mean car\?"):
        Light(copy_paste_classes=("cars",)).pasted_classes(task, [0.25] * 4)
