"""seg train: trains a run from a config, or goes on with one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli import render
from segcli.cli.interruption import Terminated
from segcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from segcli.engine.events import Observer
    from segcli.engine.train import TrainResult

LAST_RUN = "last"


def train(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The YAML file.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value: --set train.epochs=3"),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The run's name. [default: the config's]")] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="[RUN]", help="Go on with a run. [default: the last one]"),
    ] = None,
) -> None:
    """Train a model from a config."""
    from segcli.config import load_config

    if (config is None) == (resume is None):
        raise UsageError("seg train wants a config (-c CONFIG) or a run to go on with (--resume [RUN]), one of the two")
    if resume is not None:
        if overrides or name:
            raise UsageError("--resume goes on with the run as it is; --set and --name are for new runs (-c CONFIG)")
        _resume(resume)
        return
    assert config is not None
    loaded = load_config(config, overrides or [])
    from segcli.datasets.opening import refuse_missing

    refuse_missing(loaded.dataset)  # before torch is imported, which takes longer than to see this
    from segcli.engine.train import train as train_run

    _watch(lambda observe: train_run(loaded, name or config.stem, observe))


def _resume(name: str) -> None:
    from segcli.config import load_config
    from segcli.io.rundir import RUNS, find_run

    run = find_run(None if name == LAST_RUN else name, RUNS)
    config = load_config(run.config)
    from segcli.engine.train import resume as resume_run

    _watch(lambda observe: resume_run(run, config, observe))


def _watch(training: "Callable[[Observer], TrainResult]") -> None:
    """Shows a training; an interrupted one is told how it goes on."""
    with render.training() as view:
        try:
            result = training(view)
        except (KeyboardInterrupt, Terminated):
            if view.epochs_done:
                render.next_steps(f"seg train --resume {render.command_path(view.folder)}")
            raise
    _finish(result)


def _finish(result: "TrainResult") -> None:
    run = result.run
    render.scores_table(result.scores, result.dataset.task, "val split, best epoch")
    render.files([run.best, run.last, run.results, run.curves, run.samples])
    model = render.command_path(run.path)
    render.next_steps(
        f"seg eval -m {model}", f"seg visualize --overlay -m {model}", f"seg predict -m {model} IMAGES",
        f"seg export onnx -m {model}",
    )  # fmt: skip


def with_resume_value(arguments: list[str]) -> list[str]:
    """Puts the last run behind a `--resume` that stands alone."""
    completed: list[str] = []
    for place, argument in enumerate(arguments):
        completed.append(argument)
        following = arguments[place + 1 : place + 2]
        if argument == "--resume" and (not following or following[0].startswith("-")):
            completed.append(LAST_RUN)
    return completed
