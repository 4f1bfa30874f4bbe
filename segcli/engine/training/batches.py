"""Training batches: which samples, in which order, cropped and varied how, is a function of (seed, epoch, place)."""

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segcli.components.augmentations import Light
from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset as Samples
from segcli.datasets.dataset import Sample
from segcli.datasets.open import open_dataset
from segcli.engine.training.cache import cached
from segcli.engine.training.crops import Crop, CropPlan, cut, largest_share, paste
from segcli.engine.training.distributed import ALONE, Processes
from segcli.engine.training.events import Observer, Progressed, Said
from segcli.engine.training.order import ANY, Deal, Order, Turn
from segcli.errors import SegError, UsageError
from segcli.io.card import Inference
from segcli.io.images import Mask
from segcli.parallel import Progress, available_cores, silent
from segcli.task import Colour

Value = TypeVar("Value")

Item = tuple[Tensor, Tensor]
"""A crop: image 3×h×w uint8 and mask h×w."""

Masses = Callable[[Tensor], Tensor]
"""What the terms of a loss are divided by (float64, one a term), for masks B×h×w int64."""

_AS_THEY_ARE = Inference()

_REDRAWS = 10
"""Times that a crop is drawn again where one class takes too much of it."""


@contextmanager
def open_data(config: RunConfig, observe: Observer, processes: Processes = ALONE) -> Iterator[Samples]:
    """Opens the dataset of a config, its training samples cached while the block runs."""

    def progress(*place: Any) -> None:
        observe(Progressed(*place))

    # The first process of a machine decodes what changed; the others find in its cache what it saw.
    dataset = open_dataset(config.dataset, progress) if processes.local_rank == 0 else None
    processes.gather(None)
    dataset = dataset or open_dataset(config.dataset, progress)
    for remark in dataset.remarks:
        observe(Said(remark))
    folder = next(path for path in (config.output_dir, *config.output_dir.resolve().parents) if path.is_dir())
    with ExitStack() as stack:
        samples = None
        if processes.local_rank == 0:  # one cache a machine
            kept = cached(dataset.split("train"), config.dataset.cache, folder, progress)
            samples, note = stack.enter_context(kept)
            if samples is not dataset.split("train"):
                observe(Said(note))
        samples = processes.gather(samples)[processes.rank - processes.local_rank]
        assert samples is not None
        yield replace(dataset, splits={**dataset.splits, "train": samples})


def padding_colour(mean: Sequence[float]) -> Colour:
    """The colour that normalisation turns to zeros, for what lies beyond an image: of a mean of 0…1 a channel."""
    red, green, blue = (round(255 * channel) for channel in mean)
    return red, green, blue


def training_crops(
    config: RunConfig,
    dataset: Samples,
    samples: Sequence[Sample],
    fill: Colour,
    progress: Progress = silent,
    processes: Processes = ALONE,
) -> "TrainingCrops":
    """The crops that a config asks for.

    Args:
        config: the run's.
        dataset: what is trained on.
        samples: its train split, as it is or cached.
        fill: colour of padding.
        progress: told of each mask that is read to find its classes, where a draw depends on them.
        processes: those that train together; the leading one reads the masks for all.

    Raises:
        ConfigError: if the augmentation names a class or a transform that there is not.
        DataError: if a mask cannot be read.
    """
    side, augmentation, balance = config.train.image_size, config.augmentation, config.train.class_balance
    pasted = augmentation.pasted_classes(dataset.task, dataset.class_share("train"))
    holders: Sequence[Sequence[int]] = ()
    if balance > 0 or (augmentation.copy_paste > 0 and pasted):
        holders = processes.lead(dataset.samples_with_class("train", progress) if processes.leads else ())
    return TrainingCrops(
        samples,
        (side, side) if isinstance(side, int) else side,
        augmentation,
        config.seed,
        fill,
        dataset.task.ignore_index,
        balance,
        holders,
        pasted,
        Inference.of(config.val.image_size) if augmentation.scale_base == "val" else _AS_THEY_ARE,
    )


class Batch(NamedTuple):
    """A micro-batch.

    Attributes:
        images: B×3×h×w uint8, the channels of a pixel side by side in memory.
        masks: B×h×w.
        masses: of these masks.
    """

    images: Tensor
    masks: Tensor
    masses: Tensor


class TrainingCrops(Dataset[Item | SegError]):
    """The training samples, cropped and varied; the key of an item is a `Turn`.

    A sample that cannot be read gives its error as the item: raised in a worker, it would lose its form.

    Args:
        samples: of the training split.
        size: height and width of the crops.
        augmentation: what varies them.
        seed: of the run.
        fill: colour of padding.
        ignore_index: mask value of padding.
        balance: share (0…1) of the turns that are given to a class.
        holders: by class, the samples that hold it; needed for a balance and for copy-paste.
        pasted: the classes that copy-paste takes.
        base: the size of which the augmentation's scale is a factor.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: tuple[int, int],
        augmentation: Light,
        seed: int,
        fill: Colour,
        ignore_index: int,
        balance: float = 0.0,
        holders: Sequence[Sequence[int]] = (),
        pasted: Sequence[int] = (),
        base: Inference = _AS_THEY_ARE,
    ) -> None:
        self.samples = samples
        self.size = size
        self.augmentation = augmentation
        self.seed = seed
        self.fill = fill
        self.ignore_index = ignore_index
        self.base = base
        self.order = Order(len(samples), seed, balance, holders)
        self._variation = augmentation.build(fill, ignore_index, size)
        self._pasted = [index for index in pasted if holders and holders[index]]
        self._is_pasted = np.isin(np.arange(max(ignore_index + 1, len(holders))), self._pasted)

    def __getitem__(self, turn: Turn) -> Item | SegError:
        """Makes one item."""
        try:
            return self._make(turn)
        except SegError as error:
            return error

    def _make(self, turn: Turn) -> Item:
        rng = np.random.default_rng([self.seed, turn.epoch, turn.place, turn.index])
        crop = self._crop(rng, turn.index, turn.wanted, self.augmentation.max_class_share)
        if self._pasted and rng.random() < self.augmentation.copy_paste:
            paste(self._crop_to_paste(rng), crop, self._is_pasted)
        image, mask = crop.image, crop.mask
        if self._variation is not None:
            # Seeded by a number, as by set_random_seed, all transforms would draw the same: those that are rare
            # would come together only. They share one generator instead, which each sample sets.
            self._variation.set_random_state(rng, random.Random(int(rng.integers(1 << 62))))
            # OpenCV turns no integers of 32 bits; those of a mask are exact as floats.
            varied = self._variation(image=image, mask=mask if mask.dtype == np.uint8 else mask.astype(np.float32))
            image, mask = varied["image"], varied["mask"].astype(mask.dtype)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)

    def _crop_to_paste(self, rng: Generator) -> Crop:
        """A crop of another sample, on a class that is pasted: all of them alike, as are the samples that hold it."""
        wanted = self._pasted[int(rng.integers(len(self._pasted)))]
        held = self.order.holders[wanted]
        return self._crop(rng, held[int(rng.integers(len(held)))], wanted, most=1.0)

    def _crop(self, rng: Generator, index: int, wanted: int, most: float) -> Crop:
        """A crop of a sample, on a pixel of the wanted class, in which no class takes more than `most` if possible."""
        image, mask = self.samples[index].read()
        spots = np.flatnonzero(mask == wanted) if wanted != ANY else ()
        best: tuple[float, CropPlan, Mask] | None = None
        for _ in range(1 + _REDRAWS):
            plan = CropPlan.draw(rng, self.augmentation, self.base.factor(*mask.shape))
            if len(spots):
                pixel = divmod(int(spots[rng.integers(len(spots))]), mask.shape[1])
                plan = plan.showing(pixel, mask.shape, self.size, rng)
            cropped = cut(mask, self.size, plan, self.ignore_index)
            share = largest_share(cropped, self.ignore_index) if most < 1 else 0.0
            if best is None or share < best[0]:
                best = share, plan, cropped
            if share <= most:
                break
        assert best is not None
        _, plan, cropped = best
        return Crop(cut(image, self.size, plan, self.fill), cropped, plan.filled(mask.shape, self.size))


class _Keys:
    """The micro-batches of one epoch; the loader asks for them anew each epoch."""

    def __init__(self) -> None:
        self.batches: list[list[Turn]] = []

    def __iter__(self) -> Iterator[list[Turn]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class TrainingBatches:
    """Batches of training crops, epoch by epoch and step by step.

    A step sees batch_size × accumulate × processes samples, the same whichever way their product comes about (but
    for a last short batch, which may be too small for several processes).

    Args:
        crops: the items.
        batch_size: items a micro-batch.
        workers: processes that make items; 0 makes them in this one.
        masses: counted where the batches are made.
        accumulate: micro-batches a step.
        rank: this process, of those that train together.
        processes: their number.
        pinned: whether batches lie in memory that an accelerator copies from by itself.

    Raises:
        UsageError: if there are fewer samples than processes.
    """

    def __init__(
        self,
        crops: TrainingCrops,
        batch_size: int,
        workers: int,
        masses: Masses,
        accumulate: int = 1,
        rank: int = 0,
        processes: int = 1,
        pinned: bool = False,
    ) -> None:
        self.crops = crops
        self._deal = Deal(batch_size, accumulate, rank, processes)
        if not len(self):
            raise UsageError(f"{len(crops.samples)} training images are too few for {processes} processes")
        self._keys = _Keys()
        self._loader: DataLoader[Any] = DataLoader(  # of items, which it makes a batch
            crops,
            batch_sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pinned,
            collate_fn=partial(_collate, masses),
            worker_init_fn=_start_worker,
            # The loader draws seeds for its workers; from the global generator, a resumed run would draw others.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Steps an epoch."""
        return self._deal.num_steps(len(self.crops.samples))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[list[Batch]]:
        """The steps of an epoch, each as this process's micro-batches.

        Args:
            epoch: from 0.
            start: the step to begin with; the samples of those before it are not read.

        Raises:
            DataError: when a sample of the next step cannot be read.
        """
        turns = self.crops.order.turns(epoch)
        steps = [self._deal.micro_batches(turns, step) for step in range(start, len(self))]
        self._keys.batches = [batch for step in steps for batch in step]
        batches = iter(self._loader)
        for step in steps:
            yield [_or_raise(batch) for batch in islice(batches, len(step))]

    def preview(self, number: int) -> list[Item]:
        """The first items of the first epoch, of all processes."""
        return [_or_raise(self.crops[turn]) for turn in self.crops.order.turns(0)[:number]]


def _collate(masses: Masses, items: list[Item | SegError]) -> Batch | SegError:
    images, masks = [], []
    for item in items:
        if isinstance(item, SegError):
            return item
        images.append(item[0].permute(1, 2, 0))
        masks.append(item[1])
    stacked = torch.stack(masks)
    return Batch(torch.stack(images).permute(0, 3, 1, 2), stacked, masses(stacked.long()))


def _or_raise(value: Value | SegError) -> Value:
    if isinstance(value, SegError):
        raise value
    return value


def _start_worker(worker: int) -> None:
    # Ctrl-C and the like go to a whole process group; only the training itself is to end its workers.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def pick_workers(number: int | None, device: torch.device, processes: int = 1) -> int:
    """How many processes read images for each training process on this machine.

    The given number, else one fewer than this process's share of the cores, at least 1, and at most 8 where it computes
    on a CPU, 16 where it keeps a GPU busy.
    """
    if number is not None:
        return number
    return min(max(available_cores() // processes - 1, 1), 16 if device.type == "cuda" else 8)
