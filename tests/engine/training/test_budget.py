"""`train.budget`: a training takes the time that it is given, by a clock of the test's own."""

import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import read_rows, write_pairs

from segcli.config import RunConfig, load_config
from segcli.datasets.dataset import Sample
from segcli.datasets.open import open_dataset
from segcli.engine.training.budget import Rest, most_steps
from segcli.engine.training.build import Parts
from segcli.engine.training.events import Event, LengthSettled, Progressed, Said, Stepped, StopRequest
from segcli.engine.training.loop import Trainer, resume, train
from segcli.engine.training.validation import validate
from segcli.errors import ConfigError, Stopped, UsageError
from segcli.io.rundir import RunDir, create_run


class Clockwork:
    """A clock that goes on by what a training does: so many seconds a step, and a validated image."""

    def __init__(self, a_step: Callable[[int], float], an_image: float) -> None:
        self.a_step, self.an_image = a_step, an_image
        self.now = 0.0
        self.events: list[Event] = []

    def read(self) -> float:
        self.now += 1e-6
        return self.now

    def observe(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Stepped):
            self.now += self.a_step(event.done)
        elif isinstance(event, Progressed) and event.what == "validating":
            self.now += self.an_image

    @property
    def totals(self) -> list[int]:
        return [event.steps for event in self.events if isinstance(event, LengthSettled)]


@pytest.fixture
def clockwork(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Clockwork]:
    def made(a_step: Callable[[int], float] = lambda step: 4.0, an_image: float = 0.5) -> Clockwork:
        clock = Clockwork(a_step, an_image)
        monkeypatch.setattr(time, "perf_counter", clock.read)
        return clock

    return made


def test_the_budget_is_met_whatever_the_config_began_with_and_the_machine_does(
    tiny: Callable[..., RunConfig], clockwork: Callable[..., Clockwork]
) -> None:
    for epochs, later in ((1000, 7.0), (4, 3.0)):
        clock = clockwork(lambda step, later=later: later if step > 8 else 5.0)
        config = tiny(train={"epochs": epochs, "budget": 100}, val={"every_epochs": 4})
        run = train(config, "a", clock.observe).run
        assert 90 < clock.now < 100, epochs  # of which 2 % and 3 s are kept back for what this clock does not count
        rows, kept = read_rows(run.results), load_config(run.config).train
        assert int(rows[-1]["step"]) == kept.max_steps == clock.totals[-1]
        assert len(rows) == kept.epochs
        assert float(rows[-1]["lr"]) < 1e-3 * max(float(row["lr"]) for row in rows)
        assert rows[-1]["val_miou"]


def test_the_learning_rate_goes_on_over_the_steps_that_there_are(
    tiny: Callable[..., RunConfig], clockwork: Callable[..., Clockwork]
) -> None:
    """A correction of the length moves it along its curve, and it ends where it would have."""
    clock = clockwork()
    config = tiny(train={"epochs": 9, "budget": 120}, val={"every_epochs": 8}, optimizer={"lr": 1e-2})
    train(config, "a", clock.observe)
    rates = [event.lr for event in clock.events if isinstance(event, Stepped)]
    highest = max(rates)
    assert highest == pytest.approx(1e-2, rel=0.02)
    assert 0.2 < rates.index(highest) / len(rates) < 0.3  # OneCycle rises over a quarter
    steepest = math.pi / 2 * highest / (0.25 * len(rates))  # of a rise along half a cosine
    assert max(abs(after - before) for before, after in pairwise(rates)) < 1.5 * steepest
    assert rates[-1] < 1e-4 * highest


def test_a_training_that_goes_on_keeps_to_what_is_left_of_its_budget(
    tiny: Callable[..., RunConfig], clockwork: Callable[..., Clockwork]
) -> None:
    clock, stop = clockwork(), StopRequest()

    def observe(event: Event) -> None:
        clock.observe(event)
        stop.asked = isinstance(event, Stepped) and event.done == 10

    config = tiny(train={"epochs": 1000, "budget": 100}, val={"every_epochs": 4})
    with pytest.raises(Stopped):
        train(config, "a", observe, stop=stop)
    spent = clock.now
    clock.now += 5000  # the night between
    began = clock.now
    run = config.output_dir / "a"
    resume(RunDir(run), load_config(run / "config.yml"), clock.observe)
    assert 90 < spent + clock.now - began < 100


def test_a_run_gets_more_time_when_it_goes_on_or_is_told_how(
    tiny: Callable[..., RunConfig], clockwork: Callable[..., Clockwork]
) -> None:
    """Stopped when most of it has passed, and behind its end."""
    clock, stop = clockwork(lambda step: 3.0), StopRequest()

    def observe(event: Event) -> None:
        clock.observe(event)
        stop.asked = isinstance(event, Stepped) and clock.now > 60

    config = tiny(train={"epochs": 1000, "budget": 90}, val={"every_epochs": 4})
    with pytest.raises(Stopped):
        train(config, "a", observe, stop=stop)
    run = RunDir(config.output_dir / "a")
    spent, began = clock.now, clock.now
    resume(run, load_config(run.config, ["train.budget=160"]), clock.observe)
    assert 145 < spent + clock.now - began < 160
    with pytest.raises(
        UsageError, match=r"is finished .* --set train.budget=… of more than 1.*s, train.max_steps=null"
    ):
        resume(run, load_config(run.config, ["train.budget=300"]), clock.observe)
    more = ["train.budget=220", "train.max_steps=null", "train.epochs=1000"]
    resume(run, load_config(run.config, more), clock.observe)
    assert 205 < spent + clock.now - began < 220


def test_a_first_epoch_longer_than_the_budget_is_cut_by_what_a_few_validated_images_take(
    tiny: Callable[..., RunConfig],
    clockwork: Callable[..., Clockwork],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By hand: 4 steps of 10 s and a trial of 2 leave 58 of 100; a validation takes 12, the last pictures and files
    5, and 2 are kept back: 3 more steps fit. The network trains on as it was, frozen parts included."""
    write_pairs(tmp_path / "many", 24)
    many = {f"val_{kind}_dir": str(tmp_path / "many" / kind) for kind in ("images", "masks")}
    write_pairs(tmp_path / "data" / "train", 30)
    clock = clockwork(lambda step: 10.0)
    tried: list[int] = []

    def slow(parts: Parts, samples: Sequence[Sample], *rest: Any) -> Any:
        clock.now += 0.5 * len(samples)
        tried.append(len(samples))
        return validate(parts, samples, *rest)

    monkeypatch.setattr("segcli.engine.training.budget.validate", slow)
    config = tiny(dataset=many, train={"epochs": 9, "batch_size": 1, "freeze_encoder": 5, "budget": 100})
    modes: list[tuple[bool, bool]] = []

    def observe(event: Event) -> None:
        clock.observe(event)
        if isinstance(event, Stepped):
            network = trainer.parts.network
            modes.append((network.training, network.model.get_submodule("encoder").training))

    trainer = Trainer(config, open_dataset(config.dataset), observe)
    run = trainer.run(create_run(config.output_dir, "a")).run
    assert tried == [1, 3]  # as many as 2 % of the budget leave time for
    assert clock.totals[0] == 7
    assert 80 < clock.now < 100
    assert [row["step"] for row in read_rows(run.results)] == ["7"]
    assert modes == [(True, False)] * 7


def test_without_a_budget_the_length_is_the_configs(
    tiny: Callable[..., RunConfig], clockwork: Callable[..., Clockwork]
) -> None:
    clock = clockwork(lambda step: 60.0)
    run = train(tiny(), "a", clock.observe).run
    assert not clock.totals
    assert [row["step"] for row in read_rows(run.results)] == ["3", "6"]
    assert not [event for event in clock.events if isinstance(event, Said) and "max_steps" in event.text]


def test_the_most_steps_are_those_that_just_fit() -> None:
    """By hand: 10 s left, 1 s a step; the epoch under way ends with step 12, and each costs 2 s of validation."""
    rest = Rest(10, 2, 2, 4, 1, 1.0, 2.0)
    assert [rest.epochs(total) for total in (11, 12, 13, 16, 17)] == [3, 3, 4, 4, 5]
    assert [rest.seconds(total) for total in (12, 13, 16, 17)] == [4, 7, 10, 13]
    assert rest.most_steps(10) == 16
    assert rest.most_steps(12.9) == 16
    assert rest.most_steps(13) == 17
    assert rest.most_steps(-5) == 11  # what is under way is brought to an end
    assert most_steps(3, 100.0, 1.0, lambda steps: 9.0 * steps) == 11


@pytest.mark.parametrize("given", ["soon", "10 min", -3, 0, "0m"])
def test_a_budget_that_is_no_time_is_refused(given: Any) -> None:
    with pytest.raises((ConfigError, ValueError), match="budget"):
        RunConfig.model_validate({"dataset": {"embedded": "shapes"}, "train": {"budget": given}})
    told = RunConfig.model_validate({"dataset": {"embedded": "shapes"}, "train": {"budget": "1h30m"}})
    assert told.train.budget == 5400
