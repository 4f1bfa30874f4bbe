"""What a training takes here: the real loop run on a part of the data, and timed from outside."""

import itertools
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset
from segcli.engine.training.cache import cached
from segcli.engine.training.events import EpochEnded, Event, Progressed, Started, Stepped
from segcli.engine.training.loop import Trainer
from segcli.io.rundir import create_run
from segcli.parallel import Progress, silent

_STEPS = 6  # an epoch of the trial
_EPOCHS = 2
_VALIDATED = 5  # images
_VALIDATING = "validating"


@dataclass(frozen=True)
class Speed:
    """What a training takes on this machine.

    Attributes:
        start: seconds until the first step, the data's opening left out.
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
        config: what is to be trained; its epochs do not matter.
        dataset: its data.
        progress: told of each step.

    Raises:
        SegError: whatever the training itself would raise.
    """
    crops = config.train.batch_size if isinstance(config.train.batch_size, int) else 16
    number = _STEPS * crops * config.train.accumulate
    few = _part(dataset, number)
    steps = max(len(few.splits["train"]) // (crops * config.train.accumulate), 1)
    with tempfile.TemporaryDirectory(prefix="seg-init-") as folder, ExitStack() as stack:
        update: dict[str, Any] = {
            "output_dir": Path(folder),
            "train": config.train.model_copy(update={"epochs": _EPOCHS, "max_steps": None}),
            "val": config.val.model_copy(update={"every_epochs": 1}),
            "early_stopping": None,
        }
        log = _Log(progress, _EPOCHS * steps)
        samples, _ = stack.enter_context(cached(few.split("train"), config.dataset.cache, Path(folder)))
        few = replace(few, splits={**few.splits, "train": samples})
        trainer = Trainer(config.model_copy(update=update), few, log)
        trainer.run(create_run(Path(folder), "trial"))
    return log.speed(trainer.config)


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
        self.began = time.perf_counter()
        self.events: list[tuple[float, Event]] = []

    def __call__(self, event: Event) -> None:
        self.events.append((time.perf_counter(), event))
        if isinstance(event, Stepped):
            self.progress("trying", (event.epoch - 1) * event.steps + event.step, self.steps)

    def speed(self, config: RunConfig) -> Speed:
        """What the last epoch took; the first warms up."""
        started = next(at for at, event in self.events if isinstance(event, Started))
        ends = [at for at, event in self.events if isinstance(event, EpochEnded)]
        epoch = [(at, event) for at, event in self.events if ends[-2] < at <= ends[-1]]
        steps = [(at, event.step) for at, event in epoch if isinstance(event, Stepped)]
        step = _slope(steps)
        seen = [(at, event.done) for at, event in epoch if isinstance(event, Progressed) and event.what == _VALIDATING]
        val_image = _slope(seen)
        waiting = steps[0][0] - ends[-2] - steps[0][1] * step
        validation = seen[-1][0] - steps[-1][0] - seen[-1][1] * val_image
        return Speed(
            start=started - self.began,
            step=step,
            epoch=max(waiting, 0.0) + ends[-1] - seen[-1][0],
            validation=max(validation, 0.0),
            val_image=val_image,
            config=config,
        )


def _slope(counted: Sequence[tuple[float, int]]) -> float:
    """Seconds for one more, the median over times at which something was counted; of all where it was counted once."""
    gaps = [(later[0] - at) / (later[1] - count) for (at, count), later in itertools.pairwise(counted)]
    return median(gaps) if gaps else 0.0
