import time
from collections.abc import Callable

import pytest
import torch

from segcli.components.models import build_network
from segcli.config import RunConfig, load_config
from segcli.engine.training import auto as choices
from segcli.engine.training.auto import epochs_between_validations, settled, settled_as
from segcli.engine.training.events import Event, Progressed, Said
from segcli.engine.training.loop import resume, train
from segcli.errors import SegError
from segcli.nn.network import SegmentationNetwork
from segcli.task import Task

CPU = torch.device("cpu")


def network_of(config: RunConfig) -> SegmentationNetwork:
    return build_network(config.model_name, config.encoder, None, config.model, Task.of("abc"))


@pytest.mark.parametrize(("seconds", "chosen"), [((1.0, 2.0), True), ((1.0, 1.0), True), ((2.0, 1.0), False)])
def test_the_faster_layout_is_taken_and_said(
    tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], chosen: bool
) -> None:
    times = dict(zip((torch.channels_last, torch.contiguous_format), seconds, strict=True))
    monkeypatch.setattr(choices, "_seconds_a_pass", lambda *arguments: times[arguments[-1]])
    config = tiny(train={"channels_last": "auto"})
    said: list[str] = []
    found = settled(config, network_of(config), CPU, said.append)
    assert found.train.channels_last is chosen
    assert said == [
        f"train.channels_last: {str(chosen).lower()}, since it is {seconds[1] / seconds[0]:.2f}× as fast as the other "
        f"layout here"
    ]


def test_measuring_changes_neither_the_network_nor_what_is_drawn(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(train={"channels_last": "auto", "batch_size": "auto"}, precision="auto")
    network = network_of(config)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(7)
    found = settled(config, network, CPU, lambda text: None)
    drawn = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.rand(1))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert (found.train.batch_size, found.precision) == (8, choices.pick_precision("auto", CPU))


def test_what_was_chosen_is_kept_in_the_run_and_taken_again(
    tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(train={"channels_last": "auto", "epochs": 1})
    monkeypatch.setattr(choices, "_faster_layout", lambda *arguments: False)
    run = train(config, "a").run
    assert "channels_last: false" in run.config.read_text()
    monkeypatch.setattr(choices, "_faster_layout", lambda *arguments: True)
    resume(run, config.model_copy(update={"train": config.train.model_copy(update={"epochs": 2})}))
    assert "channels_last: false" in run.config.read_text()


def test_only_what_is_left_open_is_taken_from_before(tiny: Callable[..., RunConfig]) -> None:
    before = tiny(train={"batch_size": 16, "channels_last": False}, precision="bf16")
    left_open = settled_as(tiny(train={"batch_size": "auto", "channels_last": "auto"}), before)
    assert (left_open.train.batch_size, left_open.train.channels_last, left_open.precision) == (16, False, "bf16")
    given = settled_as(tiny(train={"batch_size": 4, "channels_last": True}, precision="fp32"), before)
    assert (given.train.batch_size, given.train.channels_last, given.precision) == (4, True, "fp32")


class FakeMemory:
    """Stands for an accelerator's memory of 100 bytes, of which a crop takes 10."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, total: int) -> None:
        self.used = 0
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: type("P", (), {"total_memory": total}))
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: self.used)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(choices, "_pass", self.run)
        self.total = total

    def run(self, *arguments: object) -> None:
        batch_size = arguments[4]
        assert isinstance(batch_size, int)
        self.used = 10 * batch_size
        if self.used > self.total:
            raise torch.OutOfMemoryError


def test_the_largest_batch_that_leaves_room_is_found(
    tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(train={"batch_size": "auto"})
    empty = torch.nn.Module()
    FakeMemory(monkeypatch, 100)
    assert choices._largest_batch(config, empty, "fp32", CPU) == 8  # type: ignore[arg-type]
    FakeMemory(monkeypatch, 10**6)
    assert choices._largest_batch(config, empty, "fp32", CPU) == 64  # type: ignore[arg-type]
    FakeMemory(monkeypatch, 15)
    with pytest.raises(SegError, match="not even a batch of 2 fits"):
        choices._largest_batch(config, empty, "fp32", CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("training", "validating", "every"), [(60, 12, 1), (3, 1, 1), (3, 1.1, 2), (3, 16, 16), (1, 0, 1)]
)
def test_validations_take_a_quarter_of_the_time_at_most(training: float, validating: float, every: int) -> None:
    assert epochs_between_validations(training, validating) == every
    assert validating / (validating + every * training) <= 0.25


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
