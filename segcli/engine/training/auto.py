"""What a training decides by itself, by looking or by a short measurement: once, said, and kept in the run's config."""

import copy
import gc
import time
from collections.abc import Callable
from math import ceil
from typing import Any, Literal

import torch

from segcli.config import RunConfig
from segcli.engine.device import is_out_of_memory, pick_precision
from segcli.engine.training.precision import Precision
from segcli.errors import SegError
from segcli.nn.network import SegmentationNetwork

_TRIED = 2  # crops that the memory layouts are compared on
_LONG = 1.5  # seconds after which one pass is measurement enough
_WORTH = 0.97  # a layout other than channels_last must take at most this share of its time
_LARGEST_BATCH = 64
_BATCH_ON_CPU = 8
_SHARE_OF_VALIDATION = 0.25  # of a training's time, at most
_ROOM = 0.85  # share of an accelerator's memory that a batch may take

Say = Callable[[str], None]


def settled(config: RunConfig, network: SegmentationNetwork, device: torch.device, say: Say) -> RunConfig:
    """The config with a value in place of each `auto` that can change figures.

    Args:
        config: what the user gave, or what a run has settled before.
        network: untrained, on the device; stays as it is.
        device: where it is trained.
        say: told of each choice that was measured.

    Raises:
        UsageError: if the device cannot train in the precision asked for.
        SegError: if not even a batch of two fits into the accelerator's memory.
    """
    precision = pick_precision(config.precision, device)
    train = config.train
    if train.channels_last == "auto":
        train = train.model_copy(update={"channels_last": _faster_layout(config, network, precision, device, say)})
    if train.batch_size == "auto":
        size = _largest_batch(config, network, precision, device) if device.type == "cuda" else _BATCH_ON_CPU
        say(f"train.batch_size: {size} fits" if device.type == "cuda" else f"train.batch_size: {size}, as on any CPU")
        train = train.model_copy(update={"batch_size": size})
    return config.model_copy(update={"precision": precision, "train": train})


def epochs_between_validations(training: float, validating: float) -> int:
    """The fewest epochs from one validation to the next with which validations take at most a quarter of the time.

    Args:
        training: seconds that an epoch trains.
        validating: seconds that a validation takes.
    """
    return max(ceil(validating * (1 / _SHARE_OF_VALIDATION - 1) / training), 1)


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


def _faster_layout(
    config: RunConfig, network: SegmentationNetwork, precision: str, device: torch.device, say: Say
) -> bool:
    """Whether channels_last trains faster than the layout of NumPy's kind."""
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            seconds = {
                layout: _seconds_a_pass(config, network, precision, device, layout)
                for layout in (torch.channels_last, torch.contiguous_format)
            }
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        say("train.channels_last: true; measuring it ran out of memory")
        return True
    ratio = seconds[torch.contiguous_format] / seconds[torch.channels_last]
    faster = ratio > _WORTH
    say(f"train.channels_last: {str(faster).lower()}, since it is {ratio:.2f}× as fast as the other layout here")
    return faster


def _seconds_a_pass(
    config: RunConfig, network: SegmentationNetwork, precision: str, device: torch.device, layout: torch.memory_format
) -> float:
    """The shortest of a few passes forward and back on a small batch, behind one that warms up."""
    tried = copy.deepcopy(network).to(memory_format=layout).train()
    shortest = float("inf")
    for attempt in range(4):
        start = time.perf_counter()
        _pass(tried, config, precision, device, _TRIED, layout)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
        shortest = min(shortest, seconds) if attempt else shortest
        if attempt and seconds > _LONG:
            break
    return shortest


def _pass(
    network: SegmentationNetwork, config: RunConfig, precision: str, device: torch.device, batch_size: int,
    layout: torch.memory_format,
) -> None:  # fmt: skip
    size = config.train.image_size
    height, width = (size, size) if isinstance(size, int) else size
    images = torch.randint(0, 256, (batch_size, 3, height, width), dtype=torch.uint8, device=device)
    with Precision(precision, device).autocast():
        output: Any = network(images.to(memory_format=layout))
    outputs = output if isinstance(output, tuple) else (output,)
    sum(logits.float().square().mean() for logits in outputs).backward()
    network.zero_grad(set_to_none=True)


def _largest_batch(config: RunConfig, network: SegmentationNetwork, precision: str, device: torch.device) -> int:
    """The largest power of 2 whose pass fits into the accelerator's memory, with room for the optimiser."""
    layout = torch.channels_last if config.train.channels_last is True else torch.contiguous_format
    largest = 1
    total = torch.cuda.get_device_properties(device).total_memory
    state = 2 * sum(parameter.numel() * 4 for parameter in network.parameters())
    tried = copy.deepcopy(network).train()
    try:
        while largest < _LARGEST_BATCH:
            torch.cuda.reset_peak_memory_stats(device)
            _pass(tried, config, precision, device, 2 * largest, layout)
            if torch.cuda.max_memory_reserved(device) + state > _ROOM * total:
                break
            largest *= 2
    except torch.OutOfMemoryError:
        pass
    finally:
        del tried
        gc.collect()
        torch.cuda.empty_cache()
    if largest == 1:
        raise SegError("not even a batch of 2 fits into this accelerator's memory; lower train.image_size")
    return largest
