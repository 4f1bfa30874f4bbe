"""The learning-rate schedule of a training whose length changes on its way."""

from collections.abc import Mapping
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from segcli.config import RunConfig
from segcli.nn.network import SegmentationNetwork
from segcli.nn.plateau import PlateauSchedule


def go_to(scheduler: LRScheduler, step: int, old: Mapping[str, Any]) -> None:
    """Sets a fresh schedule to a step; ours are functions of it, but for what plateau has seen.

    Args:
        scheduler: the fresh one.
        step: steps done.
        old: the state of the one before.
    """
    seen = ("best", "epochs_without_gain", "num_falls")
    known = {name: old[name] for name in seen if name in old} if isinstance(scheduler, PlateauSchedule) else {}
    scheduler.load_state_dict({**scheduler.state_dict(), **known, "last_epoch": step - 1, "_step_count": step + 1})
    scheduler.step()


def over_other_steps(
    config: RunConfig, network: SegmentationNetwork, optimizer: Optimizer, before: LRScheduler, step: int, total: int
) -> LRScheduler:
    """The schedule of a config over another number of steps, at the step that the one before has come to.

    Args:
        config: names the optimiser's settings and the schedule.
        network: what the optimiser trains.
        optimizer: keeps its state; its rates go on from where the new schedule is.
        before: its schedule so far.
        step: steps done.
        total: steps of the whole training.
    """
    fresh = config.optimizer.build(network)
    for group, first in zip(optimizer.param_groups, fresh.param_groups, strict=True):
        group.update({name: value for name, value in first.items() if name != "params"})
    scheduler: LRScheduler = config.scheduler.build(optimizer, total)
    go_to(scheduler, step, before.state_dict())
    return scheduler
