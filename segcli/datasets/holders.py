"""Which samples hold which classes."""

from collections.abc import Sequence

import numpy as np

from segcli.datasets.dataset import FileSample, Sample
from segcli.datasets.masks import MaskFile
from segcli.parallel import Progress, each, silent
from segcli.task import Task


def find_holders(samples: Sequence[Sample], task: Task, progress: Progress = silent) -> list[list[int]]:
    """Reads all masks; gives, by class, the indices of the samples that hold a pixel of it.

    Raises:
        DataError: naming the mask that cannot be read.
    """
    holders: list[list[int]] = [[] for _ in range(task.num_classes)]
    for index, values in enumerate(each(_values_in, samples, "looking for classes", progress)):
        for value in values:
            if value < task.num_classes and value != task.ignore_index:
                holders[value].append(index)
    return holders


def _values_in(sample: Sample) -> list[int]:
    """The values of a sample's mask; its image is not decoded where the mask has its size from elsewhere."""
    if isinstance(sample, FileSample) and isinstance(sample.mask, MaskFile):
        mask = sample.encoding.encode(sample.mask.values(0, 0), sample.mask.path)
    else:
        mask = sample.read()[1]
    present: list[int] = np.flatnonzero(np.bincount(mask.ravel())).tolist()
    return present
