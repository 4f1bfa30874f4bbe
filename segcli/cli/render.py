"""The only printer: what was asked for goes to stdout, everything else to stderr."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcli.errors import SegError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from segcli.components.catalogue import Entry
    from segcli.engine.evaluation.scores import Scores
    from segcli.engine.evaluation.tta_trials import Trial
    from segcli.engine.export.parity import Parity
    from segcli.engine.training.dry_run import DryRun
    from segcli.engine.training.events import Event
    from segcli.task import Task


def new_table(title: str | None = None) -> "Table":
    """An empty table."""
    from rich.table import Table

    return Table(title=None if title is None else escape(title), title_justify="left")


def escape(text: str) -> str:
    """Text as rich prints it, without reading markup in it."""
    from rich.markup import escape

    return escape(text)


def console_on(stderr: bool) -> "Console":
    """A console on the stream as it is now; off a terminal, lines are never wrapped or cut."""
    from rich.console import Console  # rich takes a third of the time of `seg --help`, which needs none of it

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def error(problem: SegError) -> None:
    """Prints an error: each line of its message on a line of its own."""
    from segcli.cli.interruption import REPORT

    if REPORT in os.environ:  # one of several processes: the one that started them shows what is worth showing
        Path(os.environ[REPORT]).write_text(f"{type(problem).__name__}\n{problem}", encoding="utf-8")
        return
    # By hand, since importing rich would take longer than everything that leads to most errors.
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    process = os.environ.get("RANK", "0")
    word = "error:" if process == "0" else f"error (process {process}):"
    label = f"\033[1;31m{word}\033[0m" if coloured else word
    sys.stderr.write(f"{label} {problem}\n")


def note(text: str) -> None:
    """Prints a remark."""
    console_on(stderr=True).print(f"[dim]{escape(text)}[/]")


def out(text: str) -> None:
    """Prints something that was asked for, as it is."""
    sys.stdout.write(text + "\n")


def as_json(values: Any) -> None:
    """Prints one JSON object."""
    out(json.dumps(values, indent=2))


def next_steps(*commands: str) -> None:
    """Prints what a user would likely do now."""
    console = console_on(stderr=True)
    console.print("[dim]next:[/]")
    for command in commands:
        console.print(f"  {escape(command)}")


def files(paths: Sequence[Path]) -> None:
    """Prints the paths of what was written."""
    for path in paths:
        out(str(path))


def command_path(path: Path) -> str:
    """A path as one would type it in a shell: relative to here where it lies below."""
    below = path.resolve().is_relative_to(Path.cwd())
    return shlex.quote(os.path.relpath(path) if below else str(path))


def scores_table(scores: "Scores", task: "Task", title: str) -> None:
    """Prints a row a class and the figures over all classes."""
    table = new_table(title)
    table.add_column("class")
    for name in ("IoU", "Dice", "accuracy", "share"):
        table.add_column(name, justify="right")
    share = scores.confusion.sum(axis=1) / max(scores.confusion.sum(), 1)
    for index, name in enumerate(task.classes):
        figures = (scores.iou[index], scores.dice[index], scores.accuracy[index])
        table.add_row(escape(name), *(_figure(value) for value in figures), f"{share[index]:.1%}")
    table.add_section()
    means = (scores.miou, scores.mean_dice, scores.mean_accuracy)
    table.add_row("mean", *(_figure(value) for value in means), "", style="bold")
    console = console_on(stderr=False)
    console.print(table)
    console.print(f"mIoU {_figure(scores.miou)}   pixel accuracy {_figure(scores.pixel_accuracy)}")


def trials_table(trials: "Sequence[Trial]") -> None:
    """Prints what each TTA policy gives and costs."""
    table = new_table()
    for name in ("policy", "mIoU", "gain", "pixel accuracy", "cost", "ms/image"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    base = next((trial for trial in trials if trial.policy.name == "none"), trials[0]).scores.miou
    best = max(trials, key=lambda trial: trial.scores.miou)
    for trial in trials:
        scores = trial.scores
        table.add_row(
            trial.policy.name, _figure(scores.miou), f"{scores.miou - base:+.4f}", _figure(scores.pixel_accuracy),
            f"{trial.policy.cost:g}×", f"{1000 * trial.seconds_per_image:.0f}",
            style="bold" if trial is best else None,
        )  # fmt: skip
    console_on(stderr=False).print(table)


MOST_ROWS = 20
"""Rows of a table that is only a glance."""


def shares_table(rows: Sequence[tuple[Path, Sequence[float]]], task: "Task", total: int) -> None:
    """Prints the largest classes of the first few of some predicted images."""
    table = new_table()
    table.add_column("image")
    table.add_column("classes")
    for source, shares in rows:
        largest = sorted(range(len(shares)), key=lambda index: -shares[index])[:5]
        shown = ", ".join(f"{task.classes[index]} {shares[index]:.0%}" for index in largest if shares[index] >= 0.005)
        table.add_row(escape(source.name), escape(shown))
    console = console_on(stderr=True)
    console.print(table)
    if total > len(rows):
        console.print(f"… and {total - len(rows)} more")


def entries_table(entries: "Sequence[Entry]") -> None:
    """Prints what there is to choose from; names alone, where nothing else is known, one a line."""
    titles = list(dict.fromkeys(title for entry in entries for title in entry.facts))
    if not titles:
        out("\n".join(entry.name for entry in entries))
        return
    table = new_table()
    for title in ("name", *titles):
        table.add_column(title, overflow="fold", justify="right" if title in {"parameters", "stride"} else "left")
    for entry in entries:
        table.add_row(escape(entry.name), *(escape(entry.facts.get(title, "")) for title in titles))
    console_on(stderr=False).print(table)


@contextmanager
def progress() -> Iterator[Any]:
    """Gives a function (what, done, total) that shows a bar for each kind of work; nothing off a terminal.

    A total of 0 is one that is not known.
    """
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None, info="")
            speed = bars.tasks[tasks[what]].speed
            bars.update(tasks[what], completed=done, total=total or None, info=f"{speed:.3g}/s" if speed else "")

        yield show


def _bars(shown: bool = True) -> "Progress":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )  # fmt: skip

    console = console_on(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[info]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not (shown and console.is_terminal),
        transient=True,
    )


class TrainingView:
    """Shows a training: a bar of all its steps, and a line for every epoch."""

    def __init__(self, bars: "Progress", shown: bool) -> None:
        self.bars = bars
        self.shown = shown
        self.started = False
        self.console = bars.console
        self.folder = Path()
        self.epochs = 0
        self.epochs_done = 0
        self.training: TaskID | None = None
        self.other: dict[str, TaskID] = {}

    def __call__(self, event: "Event") -> None:
        """Shows an event."""
        from segcli.engine.training import events

        self.started |= isinstance(event, events.Started)
        if not self.shown:
            return
        match event:
            case events.Started():
                self._start(event)
            case events.Stepped():
                self._step(event)
            case events.Progressed():
                self._progress(event)
            case events.EpochEnded():
                self._epoch(event)
            case events.Said():
                self.say(event.text)

    def say(self, text: str) -> None:
        """Shows a remark."""
        if self.shown:
            self.console.print(f"[yellow]{escape(text)}[/]")

    def _start(self, event: Any) -> None:
        for name, value in {"run": str(event.folder), **event.facts}.items():
            self.console.print(f"[bold]{name:>8}[/]  {escape(value)}")
        self.folder, self.epochs, self.epochs_done = event.folder, event.epochs, event.first_epoch - 1
        self.console.print("[bold]   epoch  train loss  val loss  train mIoU  val mIoU  accuracy     lr  images/s[/]")

    def _step(self, event: Any) -> None:
        if self.training is None:
            self.training = self.bars.add_task("training", total=self.epochs * event.steps, info="")
        info = (
            f"epoch {event.epoch}/{self.epochs}  loss {event.loss:.4f}  lr {event.lr:.1e}  "
            f"{event.images_per_second:.1f} images/s"
        )
        self.bars.update(self.training, completed=(event.epoch - 1) * event.steps + event.step, info=info)

    def _progress(self, event: Any) -> None:
        if event.what not in self.other:
            self.other[event.what] = self.bars.add_task(event.what, total=event.total, info="")
        self.bars.update(
            self.other[event.what], completed=event.done, total=event.total, visible=event.done < event.total
        )

    def _epoch(self, event: Any) -> None:
        row = event.row
        self.epochs_done = row["epoch"]
        val_loss, val_miou, accuracy = (
            "–" if row[name] is None else f"{row[name]:.4f}" for name in ("val_loss", "val_miou", "val_accuracy")
        )
        line = (
            f"{row['epoch']:>5}/{self.epochs:<3}{row['train_loss']:>11.4f}{val_loss:>10}"
            f"{row['train_miou']:>12.4f}{val_miou:>10}{accuracy:>10}{row['lr']:>9.1e}{row['images_per_second']:>8.1f}"
        )
        self.console.print(f"[green]{line}  best[/]" if event.best else line)


@contextmanager
def training(shown: bool = True) -> Iterator[TrainingView]:
    """Gives an observer that shows a training, or follows it in silence."""
    with _bars(shown) as bars:
        yield TrainingView(bars, shown)


def dry_run_table(found: "DryRun") -> None:
    """Prints what a training would be like."""
    table = new_table("what it would take")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    for name, value in found.facts.items():
        table.add_row(name, escape(value))
    table.add_section()
    table.add_row("loss of the first step", f"{found.loss:.4f}")
    table.add_row("a step", _duration(found.seconds_a_step))
    table.add_row("an image of the validation", _duration(found.seconds_a_val_image))
    table.add_row("memory at its peak", f"{found.peak_memory / 2**30:.2f} GiB")
    table.add_row(
        f"{found.steps} steps, {found.validations} validations of {found.val_images} images", _duration(found.seconds)
    )
    console_on(stderr=False).print(table)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _figure(value: float) -> str:
    return "–" if value != value else f"{value:.4f}"


def parity_table(parity: "Parity") -> None:
    """Prints how far an exported file agrees with its model."""
    table = new_table(f"agreement with the model on {parity.images}")
    for name in ("size", "images", "equal labels", "largest difference of logits"):
        table.add_column(name, justify="right")
    for agreement in parity.agreements:
        table.add_row(
            f"{agreement.size[1]}×{agreement.size[0]}", str(agreement.num_images), f"{agreement.labels:.3%}",
            f"{agreement.difference:.2g}",
        )  # fmt: skip
    console_on(stderr=False).print(table)
