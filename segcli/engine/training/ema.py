"""A moving average of the weights over the steps."""

from collections.abc import Mapping
from typing import Any, cast

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from segcli.nn.network import SegmentationNetwork


class Average:
    """An exponential moving average of a network's weights and running means, as torch keeps it.

    The first steps count for more than the decay says, so that the initial weights are soon forgotten: step n keeps
    min(decay, (1 + n) / (10 + n)) of the average.

    Args:
        network: what is averaged.
        decay: share of the average that stays in a step.
    """

    def __init__(self, network: SegmentationNetwork, decay: float) -> None:
        self.decay = decay
        self._averaged = AveragedModel(network, multi_avg_fn=self._mix, use_buffers=True)

    @property
    def network(self) -> SegmentationNetwork:
        """The network with the averaged weights."""
        return cast(SegmentationNetwork, self._averaged.module)

    def update(self, network: SegmentationNetwork) -> None:
        """Takes in the weights behind a step."""
        self._averaged.update_parameters(network)

    def _mix(self, averages: Any, values: Any, num_averaged: Any) -> None:
        steps = int(self._averaged.n_averaged)  # this one lies on the CPU, `num_averaged` where the weights are
        mix = get_ema_multi_avg_fn(min(self.decay, (1 + steps) / (10 + steps)))  # type: ignore[no-untyped-call]
        mix(averages, values, num_averaged)

    def state(self) -> dict[str, Any]:
        """Everything, to be saved."""
        return self._averaged.state_dict()

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state."""
        self._averaged.load_state_dict(state)
