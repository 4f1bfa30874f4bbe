"""A training that stops anywhere and goes on equals one that never stopped."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import read_rows

from segcli.config import RunConfig
from segcli.engine.training.events import Event, Said, Stepped, StopRequest
from segcli.engine.training.loop import resume, train
from segcli.errors import Stopped, UsageError
from segcli.io.bundle import load_bundle
from segcli.io.checkpoint import load_checkpoint
from segcli.io.rundir import RunDir


def stopping_behind(stop: StopRequest, steps: int) -> Callable[[Event], None]:
    """An observer that asks for a stop behind a number of steps."""
    seen: list[Event] = []

    def observe(event: Event) -> None:
        if isinstance(event, Stepped):
            seen.append(event)
            stop.asked = len(seen) == steps

    return observe


def stopped_and_resumed(config: RunConfig, name: str, points: list[int]) -> RunDir:
    """Trains with a stop some steps behind the start, and behind each resume."""
    run = RunDir(config.output_dir / name)
    for place, steps in enumerate(points):
        stop = StopRequest()
        with pytest.raises(Stopped):
            if place == 0:
                train(config, name, stopping_behind(stop, steps), stop=stop)
            else:
                resume(run, config, stopping_behind(stop, steps), stop=stop)
        torch.manual_seed(place + 1000)  # what else draws numbers meanwhile
    resume(run, config)
    return run


def figures(run: RunDir) -> list[dict[str, str]]:
    timed = {"images_per_second", "data_wait"}
    return [{name: value for name, value in row.items() if name not in timed} for row in read_rows(run.results)]


@pytest.mark.parametrize(("workers", "optimizer"), [(0, "muon"), (2, "adamw")])
def test_three_stops_within_epochs_leave_no_trace(tiny: Callable[..., RunConfig], workers: int, optimizer: str) -> None:
    """FPN draws dropout, OneCycle turns behind a step, the average and the accumulated steps have states too."""
    config = tiny(
        model_name="FPN", model={"encoder_depth": 4, "decoder_channels": 32},
        train={"epochs": 2, "batch_size": 1, "accumulate": 2, "workers": workers, "class_balance": 0.5},
        augmentation={"name": "medium", "copy_paste": 0.5}, ema={"decay": 0.9}, optimizer={"name": optimizer},
    )  # fmt: skip
    whole = train(config, "whole").run
    broken = stopped_and_resumed(config, "broken", [1, 1, 2])  # in the first epoch twice, in the second once
    for bundle in ("best", "last"):
        expected, found = (load_bundle(run.path / bundle)[0].state_dict() for run in (whole, broken))
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    states = [load_checkpoint(run.state) for run in (whole, broken)]
    assert all(torch.equal(states[0]["network"][name], states[1]["network"][name]) for name in states[0]["network"])
    assert figures(whole) == figures(broken)


def test_a_stop_in_the_validation_keeps_the_epoch(tiny: Callable[..., RunConfig]) -> None:
    config = tiny()
    whole = train(config, "whole").run
    stop = StopRequest()

    def observe(event: Any) -> None:
        stop.asked = getattr(event, "what", "") == "validating"

    with pytest.raises(Stopped, match="stopped in the validation of epoch 1"):
        train(config, "broken", observe, stop=stop)
    steps: list[int] = []
    broken = RunDir(config.output_dir / "broken")
    resume(broken, config, lambda event: steps.append(event.step) if isinstance(event, Stepped) else None)
    assert steps == [1, 2, 3]  # of the second epoch; the first has been trained
    assert figures(whole) == figures(broken)


def test_a_state_is_written_by_the_clock(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(checkpoint={"every_minutes": 1e-9, "keep": 99}, train={"epochs": 1})
    run = train(config, "a").run
    assert [path.name for path in sorted(run.state.iterdir())] == [
        "step-00000000", "step-00000001", "step-00000002", "step-00000003",
    ]  # fmt: skip
    assert load_checkpoint(run.state)["progress"]["step"] == 3


def test_states_are_written_by_epochs_and_the_newest_kept(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(checkpoint={"every_epochs": 2, "keep": 2}, train={"epochs": 7})
    run = train(config, "a").run
    assert [path.name for path in sorted(run.state.iterdir())] == ["step-00000018", "step-00000021"]


def changed(config: RunConfig, section: str, **values: object) -> RunConfig:
    part = getattr(config, section)
    return RunConfig.model_validate(
        {**config.model_dump(), section: {**part.model_dump(), **values}}
    )  # fmt: skip


def test_epochs_and_learning_rate_may_change_and_it_is_said(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(scheduler="cosine", train={"epochs": 2})
    run = train(config, "a").run
    with pytest.raises(UsageError, match=r"is finished \(2 epochs\); for more, --set train.epochs=4"):
        resume(run, config)
    said: list[str] = []
    rates: list[float] = []

    def observe(event: Event) -> None:
        if isinstance(event, Said):
            said.append(event.text)
        if isinstance(event, Stepped):
            rates.append(event.lr)

    more = changed(changed(config, "train", epochs=4), "optimizer", lr=5e-3)
    assert len(resume(run, more, observe).rows) == 4
    assert "train.epochs: 4 from here on, 2 before" in said
    assert "optimizer.lr: 0.005 from here on, 0.001 before" in said
    # cosine over 12 steps, of which 6 are done: the second half, from half of the new rate
    assert rates[0] == pytest.approx(5e-3 / 2)
    assert rates == sorted(rates, reverse=True)
    assert "epochs: 4" in run.config.read_text()


def test_steps_may_be_added_and_the_schedule_ends_with_them(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(train={"epochs": 9, "max_steps": 4}, scheduler="cosine")
    run = train(config, "a").run
    rates: list[float] = []
    more = changed(config, "train", max_steps=8)
    resume(run, more, lambda event: rates.append(event.lr) if isinstance(event, Stepped) else None)
    # the first run ended within its second epoch, of which the third step is not made up for
    assert rates == pytest.approx([1e-3 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(4, 8)])
    with pytest.raises(UsageError, match=r"is finished \(4 epochs\); for more, --set train.max_steps=16"):
        resume(run, more)


def test_fewer_steps_than_were_made_are_refused(tiny: Callable[..., RunConfig]) -> None:
    config = tiny()
    stop = StopRequest()
    with pytest.raises(Stopped):
        train(config, "a", stopping_behind(stop, 5), stop=stop)
    with pytest.raises(UsageError, match="is finished"):
        resume(RunDir(config.output_dir / "a"), changed(config, "train", max_steps=3))


def test_a_plateau_keeps_what_it_has_seen_when_epochs_are_added(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(scheduler={"name": "plateau", "patience": 1, "factor": 0.5, "min_delta": 1.0}, train={"epochs": 3})
    run = train(config, "a").run  # no gain of 1 is ever made: the rate falls behind the second and third epoch
    rates: list[float] = []
    more = changed(config, "train", epochs=4)
    resume(run, more, lambda event: rates.append(event.lr) if isinstance(event, Stepped) else None)
    assert rates == [2.5e-4] * 3


@pytest.mark.parametrize(
    ("section", "values", "reason"),
    [
        ("model", {"decoder_channels": [8, 8, 8]}, "model.decoder_channels was .*: the network would not fit"),
        ("optimizer", {"name": "sgd"}, "optimizer.name was adamw .*: the optimiser's state would not fit"),
        ("train", {"batch_size": 3}, "begun with 2 crops a step, and this would make it 3"),
    ],
)
def test_what_a_state_would_not_fit_is_refused(
    tiny: Callable[..., RunConfig], section: str, values: dict[str, object], reason: str
) -> None:
    config = tiny()
    stop = StopRequest()
    with pytest.raises(Stopped):
        train(config, "a", stopping_behind(stop, 1), stop=stop)
    if section == "optimizer":
        other = RunConfig.model_validate({**config.model_dump(), "optimizer": values})
    else:
        other = changed(config, section, **values)
    with pytest.raises(UsageError, match=reason):
        resume(RunDir(config.output_dir / "a"), other)


def test_other_classes_are_refused_by_name(tiny: Callable[..., RunConfig]) -> None:
    config = tiny()
    train(config, "a")
    other = changed(config, "dataset", classes=["ground", "car", "tree"])
    with pytest.raises(UsageError, match="the classes of .* were class_0, .* and are ground, car, tree now"):
        resume(RunDir(config.output_dir / "a"), changed(other, "train", epochs=4))


def test_the_weights_that_a_run_started_from_are_not_needed_to_go_on(
    tiny: Callable[..., RunConfig], tmp_path: Path
) -> None:
    first = train(tiny(model={"mean": [0.1, 0.2, 0.3]}), "first").run
    shutil.copytree(first.best, tmp_path / "start" / "best")
    config = tiny(encoder_weights=str(tmp_path / "start" / "best"))
    stop = StopRequest()
    with pytest.raises(Stopped):
        train(config, "second", stopping_behind(stop, 1), stop=stop)
    shutil.rmtree(tmp_path / "start")
    run = RunDir(config.output_dir / "second")
    resume(run, config)
    network, card = load_bundle(run.last)
    assert network.mean == card.mean == (0.1, 0.2, 0.3)  # as the weights that it started from want it
    assert card.encoder_weights == str(tmp_path / "start" / "best")


def test_the_same_step_may_come_in_other_micro_batches(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(train={"epochs": 2, "batch_size": 2})
    stop = StopRequest()
    with pytest.raises(Stopped):
        train(config, "a", stopping_behind(stop, 1), stop=stop)
    halves = changed(config, "train", batch_size=1, accumulate=2)
    assert len(resume(RunDir(config.output_dir / "a"), halves).rows) == 2


def test_other_batches_of_the_same_step_leave_the_number_of_epochs(tiny: Callable[..., RunConfig]) -> None:
    """5 images make 3 steps of one or two single crops, but 2 of a pair: a pair has no place for the last image."""
    config = tiny(train={"epochs": 4, "batch_size": 1, "accumulate": 2})
    for kind in ("images", "masks"):
        next(getattr(config.dataset, f"train_{kind}_dir").glob("005.*")).unlink()
    stop = StopRequest()
    with pytest.raises(Stopped):
        train(config, "a", stopping_behind(stop, 7), stop=stop)  # a step into the third epoch
    pairs = changed(config, "train", batch_size=2, accumulate=1)
    rates: list[float] = []
    rows = resume(
        RunDir(config.output_dir / "a"),
        pairs,
        lambda event: rates.append(event.lr) if isinstance(event, Stepped) else None,
    ).rows
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 3), (2, 6), (3, 8), (4, 10)]
    assert rates[-1] < 1e-6  # the schedule ends with the last step
