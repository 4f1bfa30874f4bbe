"""seg train: trains a run from a config, or goes on with one."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli import complete, help, options, render
from segcli.cli.interruption import Terminated
from segcli.errors import SegError, Stopped, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from segcli.cli.render_training import TrainingView
    from segcli.config import RunConfig
    from segcli.engine.training.distributed import Processes
    from segcli.engine.training.events import Observer, StopRequest
    from segcli.engine.training.loop import TrainResult
    from segcli.io.rundir import RunDir

    Training = Callable[[Observer, Processes, StopRequest], TrainResult]

LAST_RUN = "last"
EXAMPLES = help.examples(
    "seg train -c configs/voc.yml",
    "seg train mine.yml --dry-run  # one step, to see that all is well",
    "seg train --resume --set train.epochs=100  # the last run, for longer",
)


def train(
    config: options.Config = None,
    named: options.NamedConfig = None,
    overrides: options.Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="[RUN]",
            rich_help_panel=help.READS,
            autocompletion=complete.runs,
            help="Go on with a run. [default: the last one]",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", rich_help_panel=help.WRITES, help="The run's name. [default: the config's]"
        ),
    ] = None,
    devices: Annotated[
        int,
        typer.Option(
            "--devices",
            metavar="N",
            min=1,
            rich_help_panel=help.COMPUTES,
            help="Processes that train together, each on a GPU of its own, or CPUs.",
        ),
    ] = 1,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            rich_help_panel=help.COMPUTES,
            help="One step forward and back, to see that all is well; trains nothing.",
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", rich_help_panel=help.WRITES, help="Show remarks and the result, but no progress."
        ),
    ] = False,
) -> None:
    """Train a model from a config, or go on with a run."""
    began = time.perf_counter()
    if resume is not None and (config or named):
        raise UsageError(f"--resume goes on with a run by its own config; leave {named or config} out, or --resume")
    if resume is not None and (name or dry_run):
        raise UsageError("--name and --dry-run are for new runs (-c CONFIG), not for --resume")
    if dry_run and devices > 1:
        raise UsageError("--dry-run tries one process; leave --devices out")
    path = options.find_config(config, named, "seg train") if resume is None else None
    run = _find(resume) if resume is not None else None
    path = path if run is None else run.config
    assert path is not None
    with render.starting(shown=not quiet):
        from segcli.config import load_config

        loaded = load_config(path, overrides or [])
        from segcli.datasets.open import refuse_missing

        refuse_missing(loaded.dataset)  # before torch is imported, which takes longer than to see this
    if dry_run:
        _try(loaded, name or path.stem)
    elif devices > 1 and "WORLD_SIZE" not in os.environ:
        _launch(devices)
    else:
        with render.starting(shown=not quiet):
            training = _training(loaded, name or path.stem, run, began)
        _watch(training, loaded.device, quiet)


def _find(name: str) -> "RunDir":
    from segcli.io.rundir import RUNS, find_run

    return find_run(None if name == LAST_RUN else name, RUNS)


def _training(config: "RunConfig", name: str, run: "RunDir | None", began: float) -> "Training":
    from segcli.engine.training.loop import resume, train

    if run is not None:
        return lambda observe, processes, stop: resume(run, config, observe, processes, stop, began)
    return lambda observe, processes, stop: train(config, name, observe, processes, stop, began)


def _try(config: "RunConfig", name: str) -> None:
    with render.starting():
        from segcli.cli import render_training
        from segcli.engine.training.dry_run import dry_run

    with render_training.training() as view:
        found = dry_run(config, name, view)
    render.dry_run_table(found)
    render.files([found.picture])


def _launch(devices: int) -> None:
    """Starts this command as several processes, and ends as they do."""
    from segcli.cli.launch import launch

    ended = launch(devices, [sys.executable, "-m", "segcli", *sys.argv[1:]])
    for message in ended.messages:
        render.error(SegError(message))
    raise typer.Exit(ended.exit_code)


def _watch(training: "Training", device: str, quiet: bool) -> None:
    """Shows a training; an interrupted one is told how it goes on."""
    from segcli.cli import render_training
    from segcli.engine.training.distributed import joined
    from segcli.engine.training.events import StopRequest

    stop = StopRequest()
    with (
        joined(device) as processes,
        render_training.training(processes.leads, quiet) as view,
        _asking(stop, view) as asked,
    ):
        try:
            result = training(view, processes, stop)
        except (Stopped, KeyboardInterrupt, Terminated) as reason:
            if processes.leads and view.started:
                render.next_steps(f"seg train --resume {render.command_path(view.folder)}")
            if isinstance(reason, Stopped):
                raise _interruption(asked) from None
            raise
    if processes.leads:
        _finish(result)


@contextmanager
def _asking(stop: "StopRequest", view: "TrainingView") -> "Iterator[list[int]]":
    """Turns the first signal into a request to stop behind the step under way; a second one stops at once."""
    asked: list[int] = []

    def handle(number: int, frame: object) -> None:
        if asked or not view.started:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        asked.append(number)
        stop.asked = True
        view.say("stopping behind this step, its state is saved; once more stops at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interruption(asked: list[int]) -> BaseException:
    """What ends the command: as the signal says that this process was given, else as if terminated with the others."""
    return KeyboardInterrupt() if asked[:1] == [signal.SIGINT] else Terminated()


def _finish(result: "TrainResult") -> None:
    from segcli.io.bundle import read_card

    run = result.run
    render.scores_table(result.scores, result.dataset.task, "val split, best epoch")
    render.files([run.best, run.last, run.results, run.curves, run.confusion, run.samples])
    model = render.command_path(run.path)
    images = options.images_to_try(read_card(run.best))
    render.next_steps(
        f"seg eval -m {model}", f"seg visualize --overlay -m {model}", f"seg predict -m {model} {images}",
        f"seg export onnx -m {model}",
    )  # fmt: skip


def with_resume_value(arguments: list[str]) -> list[str]:
    """Puts the last run behind a `--resume` of `seg train` that stands alone; elsewhere it is a flag."""
    if next((argument for argument in arguments if not argument.startswith("-")), None) != "train":
        return arguments
    completed: list[str] = []
    for place, argument in enumerate(arguments):
        completed.append(argument)
        following = arguments[place + 1 : place + 2]
        if argument == "--resume" and (not following or following[0].startswith("-")):
            completed.append(LAST_RUN)
    return completed
