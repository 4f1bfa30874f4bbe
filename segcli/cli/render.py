"""The only printer: what was asked for goes to stdout, everything else to stderr."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcli.errors import SegError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from segcli.components.catalogue import Entry
    from segcli.datasets.check import Report
    from segcli.datasets.dataset import Dataset
    from segcli.datasets.findings import Finding
    from segcli.datasets.mend import Mended
    from segcli.datasets.statistics import Statistics
    from segcli.engine.events import Event
    from segcli.engine.export.parity import Parity
    from segcli.engine.metrics import Scores
    from segcli.engine.tta import Trial
    from segcli.task import Task


def _table(title: str | None = None) -> "Table":
    from rich.table import Table

    return Table(title=None if title is None else escape(title), title_justify="left")


def escape(text: str) -> str:
    """Text as rich prints it, without reading markup in it."""
    from rich.markup import escape

    return escape(text)


def _console(stderr: bool) -> "Console":
    """A console on the stream as it is now; off a terminal, lines are never wrapped or cut."""
    from rich.console import Console  # rich takes a third of the time of `seg --help`, which needs none of it

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def error(problem: SegError) -> None:
    """Prints an error: each line of its message on a line of its own."""
    # By hand, since importing rich would take longer than everything that leads to most errors.
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    label = "\033[1;31merror:\033[0m" if coloured else "error:"
    sys.stderr.write(f"{label} {problem}\n")


def note(text: str) -> None:
    """Prints a remark."""
    _console(stderr=True).print(f"[dim]{escape(text)}[/]")


def out(text: str) -> None:
    """Prints something that was asked for, as it is."""
    sys.stdout.write(text + "\n")


def as_json(values: Any) -> None:
    """Prints one JSON object."""
    out(json.dumps(values, indent=2))


def next_steps(*commands: str) -> None:
    """Prints what a user would likely do now."""
    console = _console(stderr=True)
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
    table = _table(title)
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
    console = _console(stderr=False)
    console.print(table)
    console.print(f"mIoU {_figure(scores.miou)}   pixel accuracy {_figure(scores.pixel_accuracy)}")


def trials_table(trials: "Sequence[Trial]") -> None:
    """Prints what each TTA policy gives and costs."""
    table = _table()
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
    _console(stderr=False).print(table)


def shares_table(rows: Sequence[tuple[Path, Sequence[float]]], task: "Task", limit: int = 20) -> None:
    """Prints the largest classes of each predicted image."""
    table = _table()
    table.add_column("image")
    table.add_column("classes")
    for source, shares in rows[:limit]:
        largest = sorted(range(len(shares)), key=lambda index: -shares[index])[:5]
        shown = ", ".join(f"{task.classes[index]} {shares[index]:.0%}" for index in largest if shares[index] >= 0.005)
        table.add_row(escape(source.name), escape(shown))
    console = _console(stderr=True)
    console.print(table)
    if len(rows) > limit:
        console.print(f"… and {len(rows) - limit} more")


def dataset_table(dataset: "Dataset") -> None:
    """Prints images and pixel shares of a dataset by split."""
    table = _table(f"{dataset.name}: {dataset.task.num_classes} classes")
    table.add_column("class")
    splits = [split for split in dataset.splits if split in dataset.class_pixels]
    for split in splits:
        table.add_column(f"{split} ({len(dataset.splits[split])})", justify="right")
    shares = {split: dataset.class_share(split) for split in splits}
    order = sorted(range(dataset.task.num_classes), key=lambda index: -max(shares[split][index] for split in splits))
    shown = set(order if len(order) <= _MANY_CLASSES else order[: _MANY_CLASSES // 2])
    for index, name in enumerate(dataset.task.classes):
        if index in shown:
            table.add_row(escape(name), *(_share(shares[split][index]) for split in splits))
    console = _console(stderr=False)
    console.print(table)
    if len(shown) < len(order):
        console.print(f"the {len(shown)} most frequent of {len(order)} classes (`seg dataset stats` shows all)")


_MANY_CLASSES = 40


def _share(share: float) -> str:
    return f"{share:.2%}" if share else "never"


def statistics_tables(statistics: "Statistics") -> None:
    """Prints the figures of each split, and those of each class."""
    console = _console(stderr=False)
    table = _table(f"{statistics.name}: {statistics.task.num_classes} classes")
    for name in ("split", "images", "width×height", "mean", "std", "ignored"):
        table.add_column(name, justify="right" if name in {"images", "ignored"} else "left")
    masked = {split: figures for split, figures in statistics.splits.items() if figures.pixels is not None}
    for split, figures in statistics.splits.items():
        sizes = [f"{width}×{height} ({count})" for (height, width), count in list(figures.sizes.items())[:3]]
        total = sum(figures.pixels or ()) + figures.ignored
        table.add_row(
            split, str(figures.images), ", ".join(sizes) + (", …" if len(figures.sizes) > 3 else ""),
            " ".join(f"{value:.3f}" for value in figures.mean), " ".join(f"{value:.3f}" for value in figures.std),
            f"{figures.ignored / total:.1%}" if total else "–",
        )  # fmt: skip
    console.print(table)
    table = _table()
    table.add_column("class")
    for name in (*(f"{split} pixels" for split in masked), *(f"{split} images" for split in masked), "objects",
                 "median size", "median-frequency weight", "effective-number weight"):  # fmt: skip
        table.add_column(name, justify="right")
    weights = statistics.median_frequency(), statistics.effective_number()
    for index, name in enumerate(statistics.task.classes):
        bins = [sum(counts) for counts in zip(*(figures.objects[index] for figures in masked.values()), strict=True)]
        table.add_row(
            escape(name), *(_share(figures.shares()[index]) for figures in masked.values()),
            *(str(figures.images_with[index]) for figures in masked.values()), str(sum(bins)), _median_size(bins),
            *(f"{weight[index]:.3g}" if weight[index] else "–" for weight in weights),
        )  # fmt: skip
    console.print(table)


def _median_size(bins: Sequence[int]) -> str:
    """The bin of the median object, by the side of a square of its area."""
    from segcli.datasets.statistics import OBJECT_SIDES

    if not sum(bins):
        return "–"
    place = next(place for place, seen in enumerate(accumulate(bins)) if seen >= sum(bins) / 2)
    lower, upper = (0, *OBJECT_SIDES)[place], (*OBJECT_SIDES, None)[place]
    return f"≥ {lower}²" if upper is None else f"{lower}² – {upper}²" if lower else f"< {upper}²"


_COLOURS = {"error": "bold red", "warning": "yellow", "note": "dim"}


def findings_briefly(findings: "Sequence[Finding]", command: str) -> None:
    """Prints the warnings of a preparation, one a kind, and the command that shows all."""
    warnings: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.severity.value != "note":
            warnings.setdefault(finding.kind, []).append(finding)
    for found in warnings.values():
        more = f" ({len(found)} of this kind)" if len(found) > 1 else ""
        note(f"warning: {found[0].message}{more}")
    if warnings:
        note(f"all findings: {command}")


def check_report(report: "Report", mended: bool = False) -> None:
    """Prints the findings of a check by kind: how many, an example, and the command that mends what is not mended."""
    from segcli.datasets.findings import Severity

    console = _console(stderr=False)
    pairs = ", ".join(f"{count} {split or 'pairs'}" for split, count in report.pairs.items())
    if report.rows:
        console.print(_findings_table(report, f"{report.root}: {pairs}"))
    for row in report.rows:
        console.print(f"[{_COLOURS[row.kind.severity.value]}]{row.kind.title}[/] ({len(row.findings)})")
        for finding in row.findings[:3]:
            console.print(f"  {escape(finding.message)}")
        if len(row.findings) > 3:
            console.print(f"  … and {len(row.findings) - 3} more (--json lists them all)")
    commands = dict.fromkeys(row.command for row in report.rows if row.command)
    if commands and not mended:
        console.print("[bold]mend[/]")
        for command in commands:
            console.print(f"  {escape(command)}")
    counts = [(severity.value, report.count(severity)) for severity in Severity]
    summary = ", ".join(f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts)
    console.print(f"[bold]{escape(str(report.root))}[/]: {pairs}: {summary}")


def _findings_table(report: "Report", title: str) -> "Table":
    table = _table(title)
    for name in ("", "finding", "files", "example", "mended by"):
        table.add_column(name, justify="right" if name == "files" else "left", overflow="fold")
    for row in report.rows:
        severity, fixed = row.kind.severity.value, row.option.startswith("--fix")
        table.add_row(
            f"[{_COLOURS[severity]}]{severity}[/]", row.kind.title, str(len(row.findings)),
            escape(_below(row.findings[0].file, report.root)),
            escape(f"--fix {row.kind.mended}" if fixed else row.option),
        )  # fmt: skip
    return table


def _below(file: Path, root: Path) -> str:
    return str(file.relative_to(root)) if file.is_relative_to(root) and file != root else str(file)


def mended(result: "Mended") -> None:
    """Prints what a mended copy changed and left out."""
    console = _console(stderr=True)
    for title, entries in (("mended", result.changed), ("left out", result.left_out)):
        for file, what in list(entries.items())[:20]:
            console.print(f"[dim]{title}:[/] {escape(what if file in what else f'{file}: {what}')}")
        if len(entries) > 20:
            console.print(f"[dim]{title}:[/] … and {len(entries) - 20} more")
    console.print(f"{result.kept} pairs kept, {len(result.changed)} files mended, {len(result.left_out)} left out")


def entries_table(entries: "Sequence[Entry]") -> None:
    """Prints what there is to choose from; names alone, where nothing else is known, one a line."""
    titles = list(dict.fromkeys(title for entry in entries for title in entry.facts))
    if not titles:
        out("\n".join(entry.name for entry in entries))
        return
    table = _table()
    for title in ("name", *titles):
        table.add_column(title, overflow="fold", justify="right" if title in {"parameters", "stride"} else "left")
    for entry in entries:
        table.add_row(escape(entry.name), *(escape(entry.facts.get(title, "")) for title in titles))
    _console(stderr=False).print(table)


def facts_table(facts: Mapping[str, str]) -> None:
    """Prints what a long work is about to do."""
    console = _console(stderr=True)
    for name, value in facts.items():
        console.print(f"[bold]{name:>8}[/]  {escape(value)}")


@contextmanager
def progress() -> Iterator[Any]:
    """Gives a function (what, done, total) that shows a bar for each kind of work; nothing off a terminal."""
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total, info="")
            bars.update(tasks[what], completed=done, total=total)

        yield show


def _bars() -> "Progress":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )  # fmt: skip

    console = _console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[info]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


class TrainingView:
    """Shows a training: a bar of all its steps, and a line for every epoch."""

    def __init__(self, bars: "Progress") -> None:
        self.bars = bars
        self.console = bars.console
        self.folder = Path()
        self.epochs = 0
        self.epochs_done = 0
        self.training: TaskID | None = None
        self.other: dict[str, TaskID] = {}

    def __call__(self, event: "Event") -> None:
        """Shows an event."""
        from segcli.engine import events

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
                self.console.print(f"[yellow]{escape(event.text)}[/]")

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
        line = (
            f"{row['epoch']:>5}/{self.epochs:<3}{row['train_loss']:>11.4f}{row['val_loss']:>10.4f}"
            f"{row['train_miou']:>12.4f}{row['val_miou']:>10.4f}{row['val_accuracy']:>10.4f}"
            f"{row['lr']:>9.1e}{row['images_per_second']:>8.1f}"
        )
        self.console.print(f"[green]{line}  best[/]" if event.best else line)


@contextmanager
def training() -> Iterator[TrainingView]:
    """Gives an observer that shows a training."""
    with _bars() as bars:
        yield TrainingView(bars)


def _figure(value: float) -> str:
    return "–" if value != value else f"{value:.4f}"


def parity_table(parity: "Parity") -> None:
    """Prints how far an exported file agrees with its model."""
    table = _table(f"agreement with the model on {parity.images}")
    for name in ("size", "images", "equal labels", "largest difference of logits"):
        table.add_column(name, justify="right")
    for agreement in parity.agreements:
        table.add_row(
            f"{agreement.size[1]}×{agreement.size[0]}", str(agreement.num_images), f"{agreement.labels:.3%}",
            f"{agreement.difference:.2g}",
        )  # fmt: skip
    _console(stderr=False).print(table)
