"""What the processes of a training tell each other before a step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segcli.engine.training.batches import Batch
from segcli.engine.training.distributed import Processes


@dataclass(frozen=True)
class Agreed:
    """What holds for all processes.

    Attributes:
        stop: whether one was asked to stop.
        save: whether it is time for a state.
        settle: whether it is time to settle the number of steps.
        images: crops of the step.
        masses: of the loss on them.
    """

    stop: bool
    save: bool
    settle: bool
    images: int
    masses: Tensor


def agree(processes: Processes, micro_batches: Sequence[Batch], stop: bool, save: bool, settle: bool) -> Agreed:
    """Gathers what each process wants, and what it has of a step, in one exchange; each calls this."""
    images = sum(len(batch.images) for batch in micro_batches)
    masses = torch.stack([batch.masses for batch in micro_batches]).sum(0)
    mine = torch.cat([torch.tensor([stop, save, settle, images], dtype=torch.float64), masses])
    values = processes.sum(mine)
    stops, saves, settles, num_images = values[:4].tolist()
    return Agreed(stops > 0, saves > 0, settles > 0, int(num_images), values[4:])
