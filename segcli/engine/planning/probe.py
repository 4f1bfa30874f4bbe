"""What a training takes here: the real loop run on a part of the data, and timed from outside."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset
from segcli.engine.device import pick_device
from segcli.engine.planning.figures import spread
from segcli.engine.training.cache import cached, where_cached
from segcli.engine.training.events import EpochEnded, Event, Progressed, Started, Stepped
from segcli.engine.training.loop import Trainer
from segcli.io.rundir import create_run
from segcli.parallel import Progress, silent

_STEPS = {"cpu": 4, "accelerator": 40}  # an epoch of the trial
_EPOCHS = 2
_VALIDATED = {"cpu": 8, "accelerator": 48}  # images
_VALIDATING = "validating"

Timed = tuple[float, Event]


@dataclass(frozen=True)
class Speed:
    """What a training takes on this machine.

    Attributes:
        start: seconds from the first process until the first step and from the last one to the last file, with what
            the first epoch takes more than others; the data's opening is left out.
        step: seconds a step.
        epoch: seconds an epoch besides its steps and its validation.
        validation: seconds a validation besides its images, the files that are written behind it included.
        val_image: seconds an image of a validation.
        config: the config that was run, in which every `auto` is settled.
    """

    start: float
    step: float
    epoch: float
    validation: float
    val_image: float
    config: RunConfig


def measure_speed(
    config: RunConfig, dataset: Dataset, progress: Progress = silent, importing: float | None = None
) -> Speed:
    """Trains two short epochs on a few images in a folder that goes with its end.

    Args:
        config: what is to be trained; its epochs do not matter.
        dataset: its data.
        progress: told of each step.
        importing: seconds until a process has imported what a training needs; None starts one to see.

    Returns:
        What it took. Where a batch did not fit into the memory, the config's are as small as they came to be, and as
        many more a step.

    Raises:
        SegError: whatever the training itself would raise.
    """
    kind = "cpu" if pick_device(config.device).type == "cpu" else "accelerator"
    crops = config.train.batch_size if isinstance(config.train.batch_size, int) else 16
    number = _STEPS[kind] * crops * config.train.accumulate
    few = _part(dataset, number, _VALIDATED[kind])
    with tempfile.TemporaryDirectory(prefix="seg-init-") as folder, ExitStack() as stack:
        update: dict[str, Any] = {
            "output_dir": Path(folder),
            "train": config.train.model_copy(update={"epochs": _EPOCHS, "max_steps": None, "budget": None}),
            "val": config.val.model_copy(update={"every_epochs": 1}),
            "early_stopping": None,
        }
        place = where_cached(dataset.split("train"), config.dataset.cache, Path(folder))
        samples, _ = stack.enter_context(cached(few.split("train"), place, Path(folder)))
        few = _repeated(replace(few, splits={**few.splits, "train": samples}), number)
        config = Trainer(config.model_copy(update=update), few).config  # settled: the training measures nothing
        began = time.perf_counter()
        log = _Log(progress, _EPOCHS * _STEPS[kind])
        trainer = Trainer(config, few, log)
        trainer.run(create_run(Path(folder), "trial"))
        ended = time.perf_counter()
        importing = _importing() if importing is None else importing
        return speed_of(log.events, began - importing, ended, _fitting(config, trainer.stepper.splits))


def _fitting(config: RunConfig, splits: int) -> RunConfig:
    """The config with batches that fitted, as many times more of them a step as each was cut into."""
    size = config.train.batch_size
    assert isinstance(size, int)
    update = {"batch_size": -(-size // splits), "accumulate": config.train.accumulate * splits}
    return config.model_copy(update={"train": config.train.model_copy(update=update)})


@cache
def _importing() -> float:
    """Seconds until a process has imported what a training needs; this one has already. Measured once."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {Trainer.__module__}"], check=True)
    return time.perf_counter() - began


def _part(dataset: Dataset, number: int, validated: int) -> Dataset:
    """Samples from all over, as many to train on and to validate on at most."""
    train, val = dataset.split("train"), dataset.split("val")
    held = dataset.held.get("train") or [None] * len(train)
    places = spread(len(train), number)
    return replace(
        dataset,
        splits={"train": [train[at] for at in places], "val": [val[at] for at in spread(len(val), validated)]},
        held={"train": [held[at] for at in places]},
    )


def _repeated(dataset: Dataset, number: int) -> Dataset:
    """The dataset with so many samples to train on, each as often as it takes."""
    train, held = dataset.split("train"), dataset.held["train"]
    places = [place % len(train) for place in range(number)]
    return replace(
        dataset,
        splits={**dataset.splits, "train": [train[at] for at in places]},
        held={"train": [held[at] for at in places]},
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
    """What a training took, from what it told: the mean of all epochs but the first, and how much longer that took.

    Args:
        events: of a training of two epochs or more, all validated.
        began: when its first process began, in the events' seconds.
        ended: when its last file was written.
        config: that was run.
    """
    started = next(at for at, event in events if isinstance(event, Started))
    ends = [at for at, event in events if isinstance(event, EpochEnded)]
    parts = [_parts(events, *times) for times in pairwise(ends)]
    step, epoch, validation, val_image = (fmean(times) for times in zip(*parts, strict=True))
    warming_up = max((ends[0] - started) - (ends[-1] - ends[0]) / len(parts), 0.0)
    return Speed(started - began + warming_up + ended - ends[-1], step, epoch, validation, val_image, config)


def _parts(events: Sequence[Timed], since: float, until: float) -> tuple[float, float, float, float]:
    """Seconds of an epoch: a step, besides the steps and the validation, of that besides its images, and an image."""
    epoch = [(at, event) for at, event in events if since < at <= until]
    steps = [(at, event.step) for at, event in epoch if isinstance(event, Stepped)]
    images = [(at, event.done) for at, event in epoch if isinstance(event, Progressed) and event.what == _VALIDATING]
    step, waiting = _slope(since, steps)
    val_image, validation = _slope(steps[-1][0], images)
    return step, waiting, validation + until - images[-1][0], val_image


def _slope(since: float, counted: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Seconds for one more, in the mean over all counts but the first, and those that went before any.

    An accelerator is looked at every ten steps, not at each: what was counted once tells the mean alone.
    """
    (first, least), (last, most) = counted[0] if len(counted) > 1 else (since, 0), counted[-1]
    one = (last - first) / (most - least)
    return one, max(first - since - least * one, 0.0)
