import copy

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from segcli.components.models import ModelOptions, build_network
from segcli.engine.training.ema import Average
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task


def network() -> SegmentationNetwork:
    torch.manual_seed(0)
    return build_network(
        "Unet", "resnet18", None, ModelOptions(encoder_depth=3, decoder_channels=(8, 8, 8)), Task.of("abc")
    )


def shift(moved: SegmentationNetwork, amount: float) -> None:
    with torch.no_grad():
        for tensor in (*moved.parameters(), *moved.buffers()):
            if tensor.is_floating_point():
                tensor += amount


def test_the_average_follows_its_recurrence() -> None:
    moved = network()
    average = Average(moved, decay=0.5)
    start = copy.deepcopy(moved.state_dict())
    expected = {name: value.double() for name, value in start.items()}
    for step in range(6):
        shift(moved, 0.1)
        average.update(moved)
        decay = 0.0 if step == 0 else min(0.5, (1 + step) / (10 + step))
        for name, value in moved.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    for name, value in average.network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], atol=1e-5, rtol=1e-5)
    assert not torch.equal(average.network.model.encoder.bn1.running_mean, moved.model.encoder.bn1.running_mean)


def test_a_saved_average_goes_on_as_one_that_was_not() -> None:
    moved = network()
    average = Average(moved, decay=0.9)
    for _ in range(3):
        shift(moved, 0.1)
        average.update(moved)
    again = Average(network(), decay=0.9)
    again.load(copy.deepcopy(average.state()))
    shift(moved, 0.1)
    average.update(moved)
    again.update(moved)
    for name, value in average.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_an_average_of_older_runs_goes_on_and_equals_torchs_own() -> None:
    """States were those of torch's AveragedModel; where it mixes what is counted, the count itself is kept here."""
    moved = network()
    torchs = AveragedModel(moved, multi_avg_fn=get_ema_multi_avg_fn(0.1), use_buffers=True)  # type: ignore[no-untyped-call]
    torchs.update_parameters(moved)
    average = Average(network(), decay=0.1)  # below what the first steps keep at most
    average.load(copy.deepcopy(torchs.state_dict()))
    for _ in range(4):
        shift(moved, 0.1)
        moved.model.encoder.bn1.num_batches_tracked += 1
        torchs.update_parameters(moved)
        average.update(moved)
    assert average.network.model.encoder.bn1.num_batches_tracked == 4
    for name, value in torchs.module.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(average.network.state_dict()[name], value), name
