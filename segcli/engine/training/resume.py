"""The state that a training goes on from: what is in it, and what of the config may have changed meanwhile."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from segcli.config import RunConfig
from segcli.datasets.dataset import Dataset
from segcli.engine.training.build import Begun, Origin, Parts
from segcli.engine.training.distributed import Processes
from segcli.engine.training.progress import TrainingProgress
from segcli.engine.training.schedule import go_to
from segcli.engine.training.step import Stepper
from segcli.errors import UsageError
from segcli.io.rundir import RunDir
from segcli.yamlfile import flat

_FIXED = {
    "model_name": "the network", "encoder": "the network", "encoder_weights": "the network", "model": "the network",
    "optimizer.name": "the optimiser's state", "seed": "the order of the samples",
}  # fmt: skip


def capture(
    parts: Parts, stepper: Stepper, progress: TrainingProgress, dataset: Dataset, processes: Processes
) -> dict[str, Any]:
    """Everything that decides how a training goes on."""
    return {
        "network": parts.network.state_dict(),
        "origin": asdict(parts.origin),
        "average": None if parts.average is None else parts.average.state(),
        "optimizer": parts.optimizer.state_dict(),
        "scheduler": parts.scheduler.state_dict(),
        "scaler": parts.precision.scaler.state_dict(),
        "progress": progress.state(),
        "splits": stepper.splits,
        "classes": list(dataset.task.classes),
        "fingerprint": dataset.fingerprint,
        "samples_a_step": samples_a_step(parts.config, processes),
        "total_steps": parts.total_steps,
        "config": parts.config.model_dump(mode="json"),
    }


def begun_in(state: Mapping[str, Any]) -> Begun:
    """What must be known of a state before what it is put into can be built."""
    progress = state["progress"]
    return Begun(Origin(**state["origin"]), progress["epoch"], progress["step"] - progress["step_in_epoch"])


def samples_a_step(config: RunConfig, processes: Processes) -> int:
    """Crops that a step sees."""
    assert config.train.batch_size != "auto"
    return config.train.batch_size * config.train.accumulate * processes.count


def restore(
    state: Mapping[str, Any], run: RunDir, parts: Parts, stepper: Stepper, dataset: Dataset, processes: Processes
) -> tuple[TrainingProgress, list[str]]:
    """Puts a state into freshly built parts.

    Returns:
        How far the training has come, and what has changed in the config since, a remark each.

    Raises:
        UsageError: if what makes the state meaningful has changed: classes, data, network, optimiser, batches.
    """
    changes = _changes(RunConfig.model_validate(state["config"]), parts.config)
    _refuse_other_task(state, run, dataset)
    _refuse_other_network(changes, run)
    if state["samples_a_step"] != samples_a_step(parts.config, processes):
        raise UsageError(
            f"{run.path} was begun with {state['samples_a_step']} crops a step, and this would make it "
            f"{samples_a_step(parts.config, processes)}; choose train.batch_size × train.accumulate × processes so "
            f"that it stays"
        )
    progress = TrainingProgress(**state["progress"])
    if progress.step - (progress.step_in_epoch > 0) >= parts.total_steps:  # an epoch under way is yet to be validated
        more = f"train.epochs={2 * progress.epoch}"
        if parts.config.train.budget is not None:
            more = f"train.budget=… of more than {progress.seconds:.0f}s, train.max_steps=null and {more}"
        elif parts.config.train.max_steps is not None:
            more = f"train.max_steps={2 * progress.step}, or null for all epochs"
        raise UsageError(f"{run.path} is finished ({progress.epoch} epochs); for more, --set {more}")
    progress.settled = 0  # what is left of a budget is looked at anew
    parts.network.load_state_dict(state["network"])
    if parts.average is not None and state["average"] is not None:
        parts.average.load(state["average"])
    elif parts.average is not None:
        parts.average.update(parts.network)  # begins with the weights as they are now
    if state["scaler"]:  # empty where the precision needs none
        parts.precision.scaler.load_state_dict(state["scaler"])
    stepper.splits = state["splits"]
    _restore_optimizer(state, run, parts, progress.step, changes)
    return progress, [f"{key}: {new} from here on, {old} before" for key, (old, new) in changes.items()]


def _refuse_other_task(state: Mapping[str, Any], run: RunDir, dataset: Dataset) -> None:
    if state["classes"] != list(dataset.task.classes):
        raise UsageError(
            f"the classes of {run.path} were {', '.join(state['classes'])}, and are {', '.join(dataset.task.classes)} "
            f"now; start a new run, with encoder_weights: {run.last} if it is to know what this one knows"
        )
    if state["fingerprint"] != dataset.fingerprint:
        raise UsageError(f"the data of {run.path} has changed since it stopped; start a new run with seg train -c")


def _refuse_other_network(changes: Mapping[str, tuple[Any, Any]], run: RunDir) -> None:
    for key, (old, new) in changes.items():
        what = next((what for fixed, what in _FIXED.items() if key == fixed or key.startswith(f"{fixed}.")), None)
        if what is not None:
            raise UsageError(
                f"{key} was {old} when {run.path} was begun, and is {new} now: {what} would not fit; start a new run"
            )


def _restore_optimizer(
    state: Mapping[str, Any], run: RunDir, parts: Parts, step: int, changes: Mapping[str, tuple[Any, Any]]
) -> None:
    """Puts back optimiser and schedule; where their settings changed, the new ones go on from the same step."""
    old, fresh = dict(state["optimizer"]), parts.optimizer.state_dict()
    if [len(group["params"]) for group in old["param_groups"]] != [
        len(group["params"]) for group in fresh["param_groups"]
    ]:
        raise UsageError(f"the optimiser's groups of {run.path} were others; put back the optimizer section")
    same = state["total_steps"] == parts.total_steps and not any(
        key.startswith(("optimizer.", "scheduler.")) for key in changes
    )
    if same:
        parts.optimizer.load_state_dict(old)
        parts.scheduler.load_state_dict(dict(state["scheduler"]))
        return
    # What an optimiser counts in its groups goes on; what the config says of them is new.
    groups = [{**before, **now} for before, now in zip(old["param_groups"], fresh["param_groups"], strict=True)]
    parts.optimizer.load_state_dict({**old, "param_groups": groups})
    go_to(parts.scheduler, step, state["scheduler"])


def _changes(old: RunConfig, new: RunConfig) -> dict[str, tuple[Any, Any]]:
    """The keys whose values differ, with both."""
    before, after = (dict(flat(config.model_dump(mode="json"))) for config in (old, new))
    return {
        key: (before.get(key), after.get(key))
        for key in {**before, **after}
        if before.get(key) != after.get(key) and not key.startswith("dataset.")
    }
