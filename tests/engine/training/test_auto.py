import time
from collections.abc import Callable
from functools import partial

import pytest
import torch

from segcli.components.models import build_network
from segcli.config import RunConfig, load_config
from segcli.engine.device import pick_precision
from segcli.engine.training.auto import Trial, epochs_between_validations, is_validated, settled, settled_as
from segcli.engine.training.events import Event, Progressed, Said
from segcli.engine.training.loop import resume, train
from segcli.errors import SegError
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def network_of(config: RunConfig) -> SegmentationNetwork:
    return build_network(config.model_name, config.encoder, None, config.model, Task.of("abc"))


class Machine:
    """Stands for one that takes so many seconds a step by layout, and has so much memory, of which a crop takes 10."""

    def __init__(self, channels_last: float = 1.0, contiguous: float = 1.0, memory: int = 0) -> None:
        self.seconds_by_layout = {True: channels_last, False: contiguous}
        self.memory = memory
        self.tried: list[RunConfig] = []

    def __call__(self, config: RunConfig) -> "Machine":
        self.tried.append(config)
        return self

    def seconds(self) -> float:
        return self.seconds_by_layout[self.tried[-1].train.channels_last]  # type: ignore[index]

    def peak_memory(self, batch_size: int) -> tuple[int, int]:
        if 10 * batch_size > self.memory:
            raise torch.OutOfMemoryError
        return 10 * batch_size, self.memory


@pytest.mark.parametrize(("seconds", "chosen"), [((1.0, 2.0), True), ((1.0, 1.0), True), ((2.0, 1.0), False)])
def test_the_faster_layout_is_taken_and_said(
    tiny: Callable[..., RunConfig], seconds: tuple[float, float], chosen: bool
) -> None:
    said: list[str] = []
    found = settled(tiny(train={"channels_last": "auto"}), CPU, Machine(*seconds), said.append)
    assert found.train.channels_last is chosen
    assert said == [
        f"train.channels_last: {str(chosen).lower()}, since it is {seconds[1] / seconds[0]:.2f}× as fast as the other "
        f"layout here"
    ]


@pytest.mark.parametrize(("memory", "size"), [(25, 2), (100, 8), (190, 16), (10**6, 64)])
def test_on_a_gpu_the_largest_batch_that_leaves_room_is_found(
    tiny: Callable[..., RunConfig], memory: int, size: int
) -> None:
    """It is measured in the precision and the layout that are taken; the latter needs no measurement there."""
    said: list[str] = []
    machine = Machine(memory=memory)
    config = tiny(train={"batch_size": "auto", "channels_last": "auto"}, precision="bf16")
    found = settled(config, GPU, machine, said.append)
    assert (found.train.batch_size, found.train.channels_last) == (size, True)
    assert said == [f"train.batch_size: {size} fits"]
    assert [(tried.train.channels_last, tried.precision) for tried in machine.tried] == [(True, "bf16")]


def test_a_gpu_without_room_for_two_crops_is_refused(tiny: Callable[..., RunConfig]) -> None:
    with pytest.raises(SegError, match="not even a batch of 2 fits"):
        settled(tiny(train={"batch_size": "auto"}, precision="fp32"), GPU, Machine(memory=15), lambda text: None)


def test_measuring_changes_neither_the_network_nor_what_is_drawn(tiny: Callable[..., RunConfig]) -> None:
    """With all that a step may have."""
    config = tiny(
        train={"channels_last": "auto", "batch_size": "auto", "clip_grad_norm": 1.0}, precision="auto",
        model={"auxiliary": 0.4}, ema={"decay": 0.9}, loss="dice",
    )  # fmt: skip
    network = network_of(config)
    loss = config.loss.build(Task.of("abc"), (0.5, 0.3, 0.2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(7)
    found = settled(config, CPU, partial(Trial, network=network, loss=loss, device=CPU), lambda text: None)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert (found.train.batch_size, found.precision) == (8, pick_precision("auto", CPU))


def test_the_encoder_is_tried_with_its_checkpoints(tiny: Callable[..., RunConfig]) -> None:
    """They compute features again on the way back: each layer of a checkpointed encoder runs twice a step."""
    runs = []
    for checkpointing in (False, True):
        config = tiny(
            encoder="tu-resnet18", train={"gradient_checkpointing": checkpointing}, precision="fp32"
        )  # fmt: skip
        network = network_of(config)
        seen: list[int] = []
        network.model.encoder.model.layer1[0].conv1.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        loss = config.loss.build(Task.of("abc"), (0.5, 0.3, 0.2))
        Trial(config, network, loss, CPU).seconds()
        runs.append(len(seen))
    assert runs[1] == 2 * runs[0]


def test_what_was_chosen_is_kept_in_the_run_and_taken_again(tiny: Callable[..., RunConfig]) -> None:
    said: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Said):
            said.append(event.text)

    config = tiny(train={"channels_last": "auto", "epochs": 1})
    run = train(config, "a", observe).run
    assert "since it is" in said[0]
    chosen = f"channels_last: {said[0].split()[1].rstrip(',')},"
    assert chosen in run.config.read_text()
    said.clear()
    resume(run, config.model_copy(update={"train": config.train.model_copy(update={"epochs": 2})}), observe)
    assert not any("since it is" in text for text in said)
    assert chosen in run.config.read_text()


def test_only_what_is_left_open_is_taken_from_before(tiny: Callable[..., RunConfig]) -> None:
    before = tiny(train={"batch_size": 16, "channels_last": False}, precision="bf16")
    left_open = settled_as(tiny(train={"batch_size": "auto", "channels_last": "auto"}), before)
    assert (left_open.train.batch_size, left_open.train.channels_last, left_open.precision) == (16, False, "bf16")
    given = settled_as(tiny(train={"batch_size": 4, "channels_last": True}, precision="fp32"), before)
    assert (given.train.batch_size, given.train.channels_last, given.precision) == (4, True, "fp32")


@pytest.mark.parametrize(
    ("training", "validating", "every"), [(60, 12, 1), (3, 1, 1), (3, 1.1, 2), (3, 16, 16), (1, 0, 1)]
)
def test_validations_take_a_quarter_of_the_time_at_most(training: float, validating: float, every: int) -> None:
    assert epochs_between_validations(training, validating) == every
    assert validating / (validating + every * training) <= 0.25


@pytest.mark.parametrize(
    ("every", "validated"), [("auto", [1, 2, 3, 4, 5]), (1, [1, 2, 3, 4, 5]), (2, [1, 2, 4, 5]), (9, [1, 5])]
)
def test_the_first_and_the_last_epoch_are_always_validated(every: int, validated: list[int]) -> None:
    assert [epoch for epoch in range(1, 6) if is_validated(epoch, every, epoch == 5)] == validated


def test_how_often_is_validated_is_settled_once_and_kept(tiny: Callable[..., RunConfig]) -> None:
    """Validation that stalls makes it rare; the run says so and a resumed one goes on with the same number."""
    config = tiny(train={"epochs": 4}, val={"every_epochs": "auto"})
    said: list[str] = []

    def stall(event: Event) -> None:
        if isinstance(event, Progressed) and event.what == "validating":
            time.sleep(1)
        if isinstance(event, Said):
            said.append(event.text)

    result = train(config, "a", stall)
    kept = load_config(result.run.config).val.every_epochs
    assert isinstance(kept, int) and kept > 4
    assert any(text.startswith(f"val.every_epochs: {kept}, since an epoch trains for") for text in said)
    assert [row["val_miou"] is not None for row in result.rows] == [True, False, False, True]
    more = resume(result.run, load_config(result.run.config, ["train.epochs=6"]))
    assert [row["val_miou"] is not None for row in more.rows] == [True, False, False, True, False, True]
