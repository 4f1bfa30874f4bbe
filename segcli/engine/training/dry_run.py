"""A training tried out: config, data and network, one batch forward and back, and what the whole would take."""

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from segcli.config import RunConfig
from segcli.datasets.open import open_dataset
from segcli.engine.drawing.masks import draw_batch
from segcli.engine.training.auto import epochs_between_validations, is_validated
from segcli.engine.training.batches import pick_workers
from segcli.engine.training.events import Observer
from segcli.engine.training.facts import facts_of
from segcli.engine.training.loop import Trainer

_CROPS = 8  # of the first batch, drawn
_VALIDATED = 2  # images that the validation is timed on


@dataclass(frozen=True)
class DryRun:
    """What a training would be like.

    Attributes:
        facts: what is trained on what, in words.
        picture: the first crops as the network sees them.
        loss: of the first step.
        steps: of the whole training.
        val_images: of a validation.
        validations: of the whole training.
        epochs: of the whole training.
        seconds_a_step: measured, reading included as far as the workers do not hide it.
        seconds_a_val_image: measured.
        peak_memory: bytes; of a step on an accelerator, else of this process up to its end.
    """

    facts: Mapping[str, str]
    picture: Path
    loss: float
    steps: int
    val_images: int
    validations: int
    epochs: int
    seconds_a_step: float
    seconds_a_val_image: float
    peak_memory: int

    @property
    def seconds(self) -> float:
        """What the whole training would take."""
        return self.steps * self.seconds_a_step + self.validations * self.val_images * self.seconds_a_val_image


def dry_run(config: RunConfig, name: str, observe: Observer) -> DryRun:
    """Tries a training out without starting a run.

    Args:
        config: what would be trained.
        name: the run's name; the picture is written to OUTPUT_DIR/NAME-dry-run.png.
        observe: told what happens.

    Raises:
        SegError: whatever the training itself would raise in its first step.
    """
    alone = config.model_copy(update={"train": config.train.model_copy(update={"workers": 0})})
    trainer = Trainer(alone, open_dataset(config.dataset), observe)
    picture = config.output_dir / f"{name}-dry-run.png"
    draw_batch(picture, trainer.parts.batches.preview(_CROPS), trainer.dataset.task)
    if trainer.parts.device.type == "cuda":  # what was measured before to settle a choice is no part of a step
        torch.cuda.reset_peak_memory_stats(trainer.parts.device)
    loss, computing, reading = _one_step(trainer)
    peak_memory = _peak_memory(trainer.parts.device)
    workers = pick_workers(config.train.workers, trainer.parts.device)
    seconds_a_step = max(computing, reading / workers) if workers else computing + reading
    seconds_a_val_image = _validation(trainer)
    return DryRun(
        facts=facts_of(trainer.parts, trainer.dataset, trainer.processes),
        picture=picture,
        loss=loss,
        steps=trainer.parts.total_steps,
        val_images=len(trainer.val_samples),
        validations=_validations(trainer, seconds_a_step, seconds_a_val_image),
        epochs=trainer.parts.total_epochs,
        seconds_a_step=seconds_a_step,
        seconds_a_val_image=seconds_a_val_image,
        peak_memory=peak_memory,
    )


def _one_step(trainer: Trainer) -> tuple[float, float, float]:
    """The loss of the first step, and the seconds that a step computes and reads: those of a second, warm pass."""
    start = time.perf_counter()
    batches = next(trainer.parts.batches.epoch(0))
    reading = time.perf_counter() - start
    losses = []
    for number in range(2):
        start = time.perf_counter()
        losses.append(trainer.try_step(batches, number))
        computing = time.perf_counter() - start
    return losses[0], computing, reading


def _validations(trainer: Trainer, seconds_a_step: float, seconds_a_val_image: float) -> int:
    """How many epochs would be validated."""
    every, epochs = trainer.config.val.every_epochs, trainer.parts.total_epochs
    if every == "auto":
        training = len(trainer.parts.batches) * seconds_a_step
        every = epochs_between_validations(training, len(trainer.val_samples) * seconds_a_val_image)
    return sum(is_validated(epoch, every, epoch == epochs) for epoch in range(1, epochs + 1))


def _validation(trainer: Trainer) -> float:
    few = trainer.val_samples[:_VALIDATED]
    start = time.perf_counter()
    trainer.validate(few)
    return (time.perf_counter() - start) / len(few)


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
