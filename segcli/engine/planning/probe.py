"""What a training takes here: the real loop run on a part of the data, and timed from outside."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset
from segcli.engine.device import is_out_of_memory, pick_device
from segcli.engine.training.cache import cached
from segcli.engine.training.events import EpochEnded, Event, Progressed, Started, Stepped
from segcli.engine.training.loop import Trainer
from segcli.errors import SegError
from segcli.io.rundir import create_run
from segcli.parallel import Progress, silent

_STEPS = {"cpu": 6, "mps": 40, "cuda": 40}  # an epoch of the trial
_EPOCHS = 2
_VALIDATED = 16  # images
_VALIDATING = "validating"

Timed = tuple[float, Event]


@dataclass(frozen=True)
class Speed:
    """What a training takes on this machine.

    Attributes:
        start: seconds from the first process until the first step and from the last one to the last file, the data's
            opening left out.
        step: seconds a step.
        epoch: seconds an epoch besides its steps and its validation: workers start, files are written.
        validation: seconds a validation besides its images.
        val_image: seconds an image of a validation.
        config: the config that was run, in which every `auto` is settled.
    """

    start: float
    step: float
    epoch: float
    validation: float
    val_image: float
    config: RunConfig

    def seconds(self, steps: int, epochs: int, validations: int, val_images: int) -> float:
        """What a training takes from its first process to its last file."""
        validating = validations * (self.validation + val_images * self.val_image)
        return self.start + steps * self.step + epochs * self.epoch + validating


def measure_speed(config: RunConfig, dataset: Dataset, progress: Progress = silent) -> Speed:
    """Trains two short epochs on a few images in a folder that goes with its end.

    Args:
        config: what is to be trained; its epochs do not matter. Where its batch does not fit into the accelerator's
            memory, the largest one that does is measured.
        dataset: its data.
        progress: told of each step.

    Raises:
        SegError: whatever the training itself would raise.
    """
    try:
        return _measured(config, dataset, progress)
    except SegError as error:
        cause = error.__cause__
        if config.train.batch_size == "auto" or not isinstance(cause, Exception) or not is_out_of_memory(cause):
            raise
    fitting = config.train.model_copy(update={"batch_size": "auto"})
    return _measured(config.model_copy(update={"train": fitting}), dataset, progress)


def _measured(config: RunConfig, dataset: Dataset, progress: Progress) -> Speed:
    crops = config.train.batch_size if isinstance(config.train.batch_size, int) else 16
    number = _STEPS[pick_device(config.device).type] * crops * config.train.accumulate
    few = _part(dataset, number)
    steps = max(len(few.splits["train"]) // (crops * config.train.accumulate), 1)
    with tempfile.TemporaryDirectory(prefix="seg-init-") as folder, ExitStack() as stack:
        update: dict[str, Any] = {
            "output_dir": Path(folder),
            "train": config.train.model_copy(update={"epochs": _EPOCHS, "max_steps": None}),
            "val": config.val.model_copy(update={"every_epochs": 1}),
            "early_stopping": None,
        }
        samples, _ = stack.enter_context(cached(few.split("train"), config.dataset.cache, Path(folder)))
        few = replace(few, splits={**few.splits, "train": samples})
        config = Trainer(config.model_copy(update=update), few).config  # settled: the training measures nothing
        began = time.perf_counter()
        log = _Log(progress, _EPOCHS * steps)
        Trainer(config, few, log).run(create_run(Path(folder), "trial"))
        speed = speed_of(log.events, began, time.perf_counter(), config)
    return replace(speed, start=_importing() + speed.start)


def _importing() -> float:
    """Seconds until a process has imported what a training needs; this one has already."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {Trainer.__module__}"], check=True)
    return time.perf_counter() - began


def _part(dataset: Dataset, number: int) -> Dataset:
    """The first samples of each split: as many to train on as a trial needs, repeated where there are fewer."""
    train = list(dataset.split("train"))
    times = -(-number // len(train))
    held = list(dataset.held.get("train") or [None] * len(train))
    return replace(
        dataset,
        splits={"train": (train * times)[:number], "val": dataset.split("val")[:_VALIDATED]},
        held={"train": (held * times)[:number]},
    )


class _Log:
    """Keeps what the training tells, with its times."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.progress, self.steps = progress, steps
        self.events: list[Timed] = []

    def __call__(self, event: Event) -> None:
        self.events.append((time.perf_counter(), event))
        if isinstance(event, Stepped):
            self.progress("trying", (event.epoch - 1) * event.steps + event.step, self.steps)


def speed_of(events: Sequence[Timed], began: float, ended: float, config: RunConfig) -> Speed:
    """What a training took, from what it told: its last epoch counts, the first ones warm up.

    Args:
        events: of a training of two validated epochs or more.
        began: when it was called, in the events' seconds.
        ended: when it came back.
        config: that was run.
    """
    started = next(at for at, event in events if isinstance(event, Started))
    *_, last_but_one, last = (at for at, event in events if isinstance(event, EpochEnded))
    epoch = [(at, event) for at, event in events if last_but_one < at <= last]
    steps = [(at, event.step) for at, event in epoch if isinstance(event, Stepped)]
    images = [(at, event.done) for at, event in epoch if isinstance(event, Progressed) and event.what == _VALIDATING]
    step, waiting = _slope(last_but_one, steps)
    val_image, validation = _slope(steps[-1][0], images)
    start = started - began + ended - last
    return Speed(start, step, waiting + last - images[-1][0], validation, val_image, config)


def _slope(since: float, counted: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Seconds for one more, in the mean over all counts but the first, and those that went before any.

    An accelerator is looked at every ten steps, not at each: what was counted once tells the mean alone.
    """
    (first, least), (last, most) = counted[0] if len(counted) > 1 else (since, 0), counted[-1]
    one = (last - first) / (most - least)
    return one, max(first - since - least * one, 0.0)
