"""A moving average of the weights over the steps."""

import copy
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from segcli.nn.network import SegmentationNetwork

_PREFIX = "module."


class Average:
    """An exponential moving average of a network's weights and running means; what it counts is copied.

    The first steps count for more than the decay says, so that the initial weights are soon forgotten: step n keeps
    min(decay, (1 + n) / (10 + n)) of the average.

    Args:
        network: what is averaged.
        decay: share of the average that stays in a step.
    """

    def __init__(self, network: SegmentationNetwork, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network)
        self._steps = 0

    @property
    def tensors(self) -> list[Tensor]:
        """All that a step changes."""
        return _tensors(self.network)

    @torch.no_grad()
    def update(self, network: SegmentationNetwork) -> None:
        """Takes in the weights behind a step; the first time as they are."""
        pairs = list(zip(self.tensors, _tensors(network), strict=True))
        mixed = [pair for pair in pairs if self._steps and pair[0].is_floating_point()]
        copied = [pair for pair in pairs if not self._steps or not pair[0].is_floating_point()]
        if mixed:
            weight = 1 - min(self.decay, (1 + self._steps) / (10 + self._steps))
            torch._foreach_lerp_(*_lists(mixed), weight)
        if copied:
            torch._foreach_copy_(*_lists(copied))
        self._steps += 1

    def state(self) -> dict[str, Any]:
        """Everything, to be saved, in the form of torch's own `AveragedModel`."""
        tensors = {_PREFIX + name: tensor for name, tensor in self.network.state_dict().items()}
        return {"n_averaged": torch.tensor(self._steps), **tensors}

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state."""
        self._steps = int(state["n_averaged"])
        self.network.load_state_dict(
            {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}
        )


def _tensors(network: nn.Module) -> list[Tensor]:
    return list(chain(network.parameters(), network.buffers()))


def _lists(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [mine for mine, _ in pairs], [theirs for _, theirs in pairs]
