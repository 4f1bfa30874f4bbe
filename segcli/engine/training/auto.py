"""What a training decides by itself, by looking or by a short measurement: once, said, and kept in the run's config."""

import copy
import gc
import time
from collections.abc import Callable
from math import ceil
from typing import Any, Literal, Protocol

import torch

from segcli.config import RunConfig
from segcli.engine.device import is_out_of_memory, pick_precision
from segcli.engine.training.ema import Average
from segcli.engine.training.precision import Precision
from segcli.errors import SegError
from segcli.nn.gradient_checkpointing import enable_gradient_checkpointing
from segcli.nn.losses import WeightedSum
from segcli.nn.network import SegmentationNetwork

_LONG = 1.5  # seconds after which one step is measurement enough
_WORTH = 0.97  # a layout other than channels_last must take at most this share of its time
_LARGEST_BATCH = 64
_BATCH_ON_CPU = 8
_SHARE_OF_VALIDATION = 0.25  # of a training's time, at most
_ROOM = 0.85  # share of an accelerator's memory that a batch may take

Say = Callable[[str], None]


class Measurable(Protocol):
    """Tells what the steps of a config take."""

    def seconds(self) -> float:
        """The time of one on a small batch."""

    def peak_memory(self, batch_size: int) -> tuple[int, int]:
        """The most bytes of the accelerator's memory that steps of a batch size take, and those that it has.

        Raises:
            torch.OutOfMemoryError: where it has not as many.
        """


def settled(config: RunConfig, device: torch.device, trial: Callable[[RunConfig], Measurable], say: Say) -> RunConfig:
    """The config with a value in place of each `auto` that can change figures.

    Args:
        config: what the user gave, or what a run has settled before.
        device: where it is trained.
        trial: measures a config in which all is settled but what is asked.
        say: told of each choice that was measured.

    Raises:
        UsageError: if the device cannot train in the precision asked for.
        SegError: if not even a batch of two fits into the accelerator's memory.
    """
    config = config.model_copy(update={"precision": pick_precision(config.precision, device)})
    if config.train.channels_last == "auto":  # tensor cores want it
        faster = device.type == "cuda" or _is_channels_last_faster(config, trial, say)
        config = _with(config, channels_last=faster)
    if config.train.batch_size == "auto":
        size = _largest_batch(trial(config)) if device.type == "cuda" else _BATCH_ON_CPU
        say(f"train.batch_size: {size} fits" if device.type == "cuda" else f"train.batch_size: {size}, as on any CPU")
        config = _with(config, batch_size=size)
        gc.collect()
        torch.cuda.empty_cache()
    return config


def _with(config: RunConfig, **choice: Any) -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update=choice)})


def epochs_between_validations(training: float, validating: float) -> int:
    """The fewest epochs from one validation to the next with which validations take at most a quarter of the time.

    Args:
        training: seconds that an epoch trains.
        validating: seconds that a validation takes.
    """
    return max(ceil(validating * (1 / _SHARE_OF_VALIDATION - 1) / training), 1)


def is_validated(epoch: int, every: int | Literal["auto"], is_last: bool) -> bool:
    """Whether an epoch (from 1) is validated: by its number, and the first and the last one in any case."""
    return every == "auto" or epoch % every == 0 or epoch == 1 or is_last


def settled_as(config: RunConfig, before: RunConfig) -> RunConfig:
    """The config with what a run has settled before in place of each `auto`."""
    precision = before.precision if config.precision == "auto" else config.precision
    chosen = {
        name: getattr(before.train, name)
        for name in ("channels_last", "batch_size")
        if getattr(config.train, name) == "auto"
    }
    config = config.model_copy(update={"precision": precision, "train": config.train.model_copy(update=chosen)})
    return with_val_every(config, before.val.every_epochs) if config.val.every_epochs == "auto" else config


def with_val_every(config: RunConfig, every: int | Literal["auto"]) -> RunConfig:
    """The config with a number of epochs from one validation to the next."""
    return config.model_copy(update={"val": config.val.model_copy(update={"every_epochs": every})})


def _is_channels_last_faster(config: RunConfig, trial: Callable[[RunConfig], Measurable], say: Say) -> bool:
    """Whether channels_last trains faster than the layout of NumPy's kind."""
    try:
        seconds = [trial(_with(config, channels_last=layout)).seconds() for layout in (True, False)]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        say("train.channels_last: true; measuring it ran out of memory")
        return True
    ratio = seconds[1] / seconds[0]
    faster = ratio > _WORTH
    say(f"train.channels_last: {str(faster).lower()}, since it is {ratio:.2f}× as fast as the other layout here")
    return faster


def _largest_batch(trial: Measurable) -> int:
    """The largest power of 2 whose steps fit into the accelerator's memory, with some room."""
    largest = 1
    try:
        while largest < _LARGEST_BATCH:
            peak, total = trial.peak_memory(2 * largest)
            if peak > _ROOM * total:
                break
            largest *= 2
    except torch.OutOfMemoryError:
        pass
    if largest == 1:
        raise SegError("not even a batch of 2 fits into this accelerator's memory; lower train.image_size")
    return largest


class Trial:
    """Steps of a copy of the network on random crops, with all that the real ones have, to be measured.

    Args:
        config: with precision and layout settled.
        network: untrained, on the device; stays as it is.
        loss: what is minimised.
        device: where it is trained.
    """

    def __init__(
        self, config: RunConfig, network: SegmentationNetwork, loss: WeightedSum, device: torch.device
    ) -> None:
        self.config, self.device = config, device
        self._layout = torch.channels_last if config.train.channels_last else torch.contiguous_format
        self._network = copy.deepcopy(network).to(memory_format=self._layout).train()
        if config.train.gradient_checkpointing:
            enable_gradient_checkpointing(self._network)
        self._loss = copy.deepcopy(loss).to(device)
        self._optimizer = config.optimizer.build(self._network)
        self._average = None if config.ema is None else Average(self._network, config.ema.decay)
        self._precision = Precision(config.precision, device)

    def seconds(self) -> float:
        """The shortest of a few steps on a batch as large as the run's, behind one that warms up."""
        size, shortest = self.config.train.batch_size, float("inf")
        for attempt in range(4):
            start = time.perf_counter()
            self._step(_BATCH_ON_CPU if size == "auto" else size)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            seconds = time.perf_counter() - start
            shortest = min(shortest, seconds) if attempt else shortest
            if attempt and seconds > _LONG:
                break
        return shortest

    def peak_memory(self, batch_size: int) -> tuple[int, int]:
        """The most bytes of the accelerator's memory that two steps take, and those that it has.

        The network that waits to be trained is counted too: room for what several processes exchange.
        """
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        for _ in range(2):  # the optimiser's state comes about in the first
            self._step(batch_size)
        return (
            torch.cuda.max_memory_reserved(self.device),
            torch.cuda.get_device_properties(self.device).total_memory,
        )

    def _step(self, batch_size: int) -> None:
        size = self.config.train.image_size
        height, width = (size, size) if isinstance(size, int) else size
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            images = torch.randint(0, 256, (batch_size, 3, height, width), dtype=torch.uint8, device=self.device)
            with self._precision.autocast():
                output: Any = self._network(images.contiguous(memory_format=self._layout))
            outputs = output if isinstance(output, tuple) else (output,)
            masks = torch.randint(0, outputs[0].shape[1], (batch_size, height, width), device=self.device)
            loss = torch.stack([self._loss(logits, masks) for logits in outputs]).sum()
            self._precision.backward(loss)
        self._precision.step(self._optimizer, loss.detach(), self.config.train.clip_grad_norm)
        self._optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update(self._network)
