"""The processes of one training: who is who, what they add up and agree on, and how they end together."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from segcli.engine.device import pick_device
from segcli.errors import PeerLost, UsageError

Value = TypeVar("Value")

_PATIENCE = timedelta(minutes=30)  # for the slowest process to open the data, or to write a state


@dataclass(frozen=True)
class Processes:
    """This process among those of a training; one alone by default.

    What they exchange travels between CPUs, so that nothing waits for an accelerator.

    Attributes:
        rank: this process, from 0; 0 alone writes and tells.
        count: how many there are.
        local_rank: this process among those of its machine.
        local_count: how many of them its machine runs.
        control: the group that they exchange small values through.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    control: Any = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes of a tensor, on the CPU; integers stay exact."""
        if self.count > 1:
            values = values.cpu().clone()
            distributed.all_reduce(values, group=self.control)
        return values

    def gather(self, value: Value) -> list[Value]:
        """Each process's value, by rank."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, value, group=self.control)
        return cast(list[Value], found)

    def lead(self, value: Value) -> Value:
        """The value of the leading process."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=self.control)
        return values[0]

    def make_equal(self, module: nn.Module) -> None:
        """Gives every process the buffers of the leading one, such as running means that each counted by itself."""
        if self.count > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, src=0)


ALONE = Processes()
"""A training in one process."""


def asked_for() -> int:
    """How many processes torchrun, or `--devices`, has started for this training."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Meets the other processes that were started for this training; gives one alone where there are none.

    Args:
        device: as in the config; `cpu` talks through gloo, accelerators through their own library.

    Raises:
        PeerLost: when another process ends before the block does.
    """
    if asked_for() == 1:
        yield ALONE
        return
    kind = pick_device(device).type
    # Clusters that run one process a machine leave these two out.
    local_rank, local_count = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if kind != "cpu" and local_count > torch.accelerator.device_count():
        raise UsageError(
            f"{local_count} processes want an accelerator each, and this machine has "
            f"{torch.accelerator.device_count()}; start fewer, or set device to cpu"
        )
    try:
        distributed.init_process_group(distributed.get_default_backend_for_device(kind), timeout=_PATIENCE)
        try:
            control = distributed.new_group(backend="gloo", timeout=_PATIENCE)
            yield Processes(distributed.get_rank(), distributed.get_world_size(), local_rank, local_count, control)
        finally:
            distributed.destroy_process_group()
    except RuntimeError as error:
        if not _tells_of_a_lost_peer(error):
            raise
        raise PeerLost("another process of this training has ended; its own message says why") from error


def _tells_of_a_lost_peer(error: RuntimeError) -> bool:
    words = ("connection closed", "connection reset", "broken pipe", "peer", "timed out", "socket")
    return isinstance(error, distributed.DistError) or any(word in str(error).lower() for word in words)
