"""The operations on torch's tensors; `Operations` says what each does. None but `to_numpy` waits for a device."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from segcli.parallel import free_memory as free_memory_of_the_host


def resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resizes."""
    return functional.interpolate(logits, size, mode="bilinear", align_corners=False)


def softmax(logits: Tensor) -> Tensor:
    """Takes torch's own, which on a CPU is faster behind a copy than on channels_last."""
    return logits.contiguous().softmax(1)


def logarithm(probabilities: Tensor) -> Tensor:
    """Takes the logarithm."""
    return probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()


def turned_back(logits: Tensor, turns: int, mirrored: bool) -> Tensor:
    """Turns clockwise, then mirrors."""
    turned = logits.rot90(-turns, (2, 3)) if turns else logits
    return turned.flip(3) if mirrored else turned


def labels(logits: Tensor) -> Tensor:
    """Takes the largest by `max`, which on a CPU does it in a half to a fifth of the time of `argmax`."""
    return logits.max(1).indices.to(torch.uint8 if logits.shape[1] <= 256 else torch.uint16)


def beside(values: NDArray[Any], logits: Tensor) -> Tensor:
    """Copies, through pinned memory to an accelerator of CUDA's kind: from other memory the host would wait."""
    return upload(torch.from_numpy(values), logits.device)


def upload(values: Tensor, device: torch.device) -> Tensor:
    """Copies a tensor from the host without waiting."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def zeros(shape: tuple[int, ...], logits: Tensor) -> Tensor:
    """Makes them."""
    return torch.zeros(shape, device=logits.device)


def confidence(logits: Tensor) -> Tensor:
    """Divides the largest power by the sum of all: 1 over the sum of the powers of what each lies below it."""
    powers = (logits - logits.amax(1, keepdim=True)).exp_()
    return (255 / powers.sum(1)).round_().to(torch.uint8)


def free_memory(logits: Tensor) -> int:
    """Asks CUDA of its device, and what its allocator keeps; elsewhere the host, which shares memory with MPS."""
    if logits.device.type != "cuda":
        return free_memory_of_the_host()
    kept = torch.cuda.memory_reserved(logits.device) - torch.cuda.memory_allocated(logits.device)
    return torch.cuda.mem_get_info(logits.device)[0] + kept


def confusion(truth: Tensor, labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Counts cells of all images' matrices, with one bin behind each for its ignored pixels.

    Adds to bins, since `bincount` waits for a device to learn how many there are.
    """
    number, bins = len(truth), num_classes * num_classes + 1
    narrow = torch.int16 if bins <= torch.iinfo(torch.int16).max else torch.int32  # a third of the time of int64
    cells = (truth.flatten(1).to(narrow) * num_classes).add_(labels.flatten(1).to(narrow))
    cells = cells.masked_fill_(truth.flatten(1) == ignore_index, bins - 1).long()
    counts = torch.zeros(number, bins, dtype=torch.int64, device=cells.device)
    counts.scatter_add_(1, cells, torch.ones((), dtype=torch.int64, device=cells.device).expand_as(cells))
    return counts[:, :-1].reshape(number, num_classes, num_classes)


def image_counts(confusion: Tensor) -> Tensor:
    """Takes diagonal and sums."""
    return torch.stack([confusion.diagonal(dim1=1, dim2=2), confusion.sum(2), confusion.sum(1)], dim=1)


def to_numpy(array: Tensor) -> NDArray[Any]:
    """Copies to the host."""
    return np.asarray(array.cpu().numpy())
