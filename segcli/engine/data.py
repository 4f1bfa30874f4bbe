"""Training batches: which samples, in which order, cropped and varied how, is a function of (seed, epoch, index)."""

import hashlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segcli.components.augmentations import Light
from segcli.datasets.dataset import Sample
from segcli.errors import SegError
from segcli.io.images import Mask, Pixels

Batch = tuple[Tensor, Tensor]


def epoch_order(num_samples: int, seed: int, epoch: int) -> list[int]:
    """The order in which an epoch sees the samples."""
    order: list[int] = np.random.default_rng([seed, epoch]).permutation(num_samples).tolist()
    return order


def epoch_batches(num_samples: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The samples of each batch of an epoch.

    A last batch of a single sample is left out where there are others: networks that pool to 1×1 cannot
    normalise it. The order being another each epoch, every sample has its turn.
    """
    order = epoch_order(num_samples, seed, epoch)
    batches = [order[start : start + batch_size] for start in range(0, num_samples, batch_size)]
    if batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches.pop()
    return batches


@dataclass(frozen=True)
class CropPlan:
    """How one sample is cut from its image.

    Attributes:
        scale: factor from image to crop.
        y: place of the crop's upper edge, as a share (0…1) of the room there is for it.
        x: likewise for the left edge.
        flip: whether left and right change places.
    """

    scale: float
    y: float
    x: float
    flip: bool

    @classmethod
    def draw(cls, rng: Generator, augmentation: Light) -> "CropPlan":
        """Draws a plan: the scale uniform in its logarithm, so that 0.5 is as likely as 2."""
        low, high = np.log(augmentation.scale)
        return cls(
            float(np.exp(rng.uniform(low, high))),
            rng.random(),
            rng.random(),
            bool(rng.random() < augmentation.hflip),
        )


def crop(
    image: Pixels,
    mask: Mask,
    size: tuple[int, int],
    plan: CropPlan,
    fill: tuple[int, int, int],
    ignore_index: int,
) -> tuple[Pixels, Mask]:
    """Cuts a region and resizes it to the crop's size, so that only pixels that are used are touched.

    Args:
        image: H×W×3 uint8.
        mask: H×W.
        size: height and width of the crop.
        plan: scale, place and flip.
        fill: colour where the region reaches beyond the image.
        ignore_index: mask value there.

    Returns:
        The crop of the image (h×w×3) and of the mask (h×w).
    """
    height, width = image.shape[:2]
    wanted = [max(round(side / plan.scale), 1) for side in size]
    top, left = (
        round(share * max(side - want, 0))
        for share, side, want in zip((plan.y, plan.x), (height, width), wanted, strict=True)
    )
    image = image[top : top + wanted[0], left : left + wanted[1]]
    mask = mask[top : top + wanted[0], left : left + wanted[1]]
    # The part of the crop that the image fills; the rest is padding below and to the right.
    filled = [
        want_to if have >= want else max(round(have * plan.scale), 1)
        for have, want, want_to in zip(image.shape[:2], wanted, size, strict=True)
    ]
    filled = [min(side, limit) for side, limit in zip(filled, size, strict=True)]
    if tuple(filled) != image.shape[:2]:
        shrinks = filled[0] < image.shape[0]
        image = cv2.resize(image, filled[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        mask = cv2.resize(mask, filled[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    if plan.flip:
        image, mask = image[:, ::-1], mask[:, ::-1]
    return _pad(image, size, fill), _pad(mask, size, ignore_index)


def _pad(pixels: Any, size: tuple[int, int], value: Any) -> Any:
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    padded = np.empty((*size, *pixels.shape[2:]), pixels.dtype)
    padded[:] = value
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    return padded


class TrainingCrops(Dataset[Batch | SegError]):
    """The training samples, cropped and varied; the key of an item is (epoch, index).

    A sample that cannot be read gives its error as the item: raised in a worker, it would lose its form.

    Args:
        samples: of the training split.
        size: height and width of the crops.
        augmentation: what varies them.
        seed: of the run.
        fill: colour of padding.
        ignore_index: mask value of padding.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: tuple[int, int],
        augmentation: Light,
        seed: int,
        fill: tuple[int, int, int],
        ignore_index: int,
    ) -> None:
        self.samples = samples
        self.size = size
        self.augmentation = augmentation
        self.seed = seed
        self.fill = fill
        self.ignore_index = ignore_index
        self._variation = augmentation.build(fill, ignore_index, square=size[0] == size[1])

    def __getitem__(self, key: tuple[int, int]) -> Batch | SegError:
        """Makes one item: image 3×h×w uint8 and mask h×w."""
        try:
            return self._crop(*key)
        except SegError as error:
            return error

    def _crop(self, epoch: int, index: int) -> Batch:
        image, mask = self.samples[index].read()
        plan = CropPlan.draw(np.random.default_rng([self.seed, epoch, index]), self.augmentation)
        image, mask = crop(image, mask, self.size, plan, self.fill, self.ignore_index)
        if self._variation is not None:
            # Albumentations repeats its draws in every worker and epoch unless each sample seeds it.
            self._variation.set_random_seed(_seed_of(self.seed, epoch, index))
            # OpenCV turns no integers of 32 bits; those of a mask are exact as floats.
            varied = self._variation(image=image, mask=mask if mask.dtype == np.uint8 else mask.astype(np.float32))
            image, mask = varied["image"], varied["mask"].astype(mask.dtype)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(mask)


def _seed_of(*numbers: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=4).digest())


class _Keys:
    """The batches of (epoch, index) keys of one epoch; the loader asks for them anew each epoch."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int]]] = []

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class TrainingBatches:
    """Batches of training crops, epoch by epoch.

    Args:
        crops: the items.
        batch_size: items a batch.
        workers: processes that make items; 0 makes them in this one.
    """

    def __init__(self, crops: TrainingCrops, batch_size: int, workers: int) -> None:
        self.crops = crops
        self.batch_size = batch_size
        self._keys = _Keys()
        self._loader: DataLoader[Batch | SegError] = DataLoader(
            crops,
            batch_sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            collate_fn=_collate,
            worker_init_fn=_start_worker,
            # The loader draws seeds for its workers; from the global generator, a resumed run would draw others.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(epoch_batches(len(self.crops.samples), self.batch_size, self.crops.seed, 0))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch: images B×3×h×w uint8 and masks B×h×w.

        Raises:
            DataError: when a sample of the next batch cannot be read.
        """
        batches = epoch_batches(len(self.crops.samples), self.batch_size, self.crops.seed, epoch)
        self._keys.batches = [[(epoch, index) for index in batch] for batch in batches]
        for batch in self._loader:
            yield _or_raise(batch)

    def preview(self, number: int) -> list[Batch]:
        """The first items of the first epoch: image 3×h×w uint8 and mask h×w each."""
        order = epoch_order(len(self.crops.samples), self.crops.seed, 0)
        return [_or_raise(self.crops[0, index]) for index in order[:number]]


def _collate(items: list[Batch | SegError]) -> Batch | SegError:
    images, masks = [], []
    for item in items:
        if isinstance(item, SegError):
            return item
        images.append(item[0])
        masks.append(item[1])
    return torch.stack(images), torch.stack(masks)


def _or_raise(batch: Batch | SegError) -> Batch:
    if isinstance(batch, SegError):
        raise batch
    return batch


def _start_worker(worker: int) -> None:
    # Ctrl-C and the like go to a whole process group; only the training itself is to end its workers.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
