"""Shows a training: a line for every epoch, and below them a calm live view of the steps."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcli.cli.render import console_on, escape

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from segcli.engine.training import events
    from segcli.engine.training.events import Event

Row = Mapping[str, Any]

_BARS = "▁▂▃▄▅▆▇█"
_A_SECOND = 4  # times that the live view is drawn
_LOSSES = 4000  # that are kept for the curve


@dataclass(frozen=True)
class _Column:
    """A figure of an epoch: its title, how wide it is, and its text."""

    title: str
    width: int
    text: Callable[[Row], str]


def _figure(name: str, form: str = ".4f") -> Callable[[Row], str]:
    return lambda row: "–" if row.get(name) is None or isnan(row[name]) else format(row[name], form)


def _worst(row: Row) -> str:
    """The class with the lowest IoU, and that IoU."""
    known = {name: value for name, value in row.items() if name.startswith("val_iou/") and value is not None}
    known = {name: value for name, value in known.items() if not isnan(value)}
    if not known:
        return "–"
    name = min(known, key=lambda name: known[name])
    return f"{name.removeprefix('val_iou/')[:20]} {known[name]:.2f}"


# In the order in which they stand, and in the order in which they are left out where there is no room.
_COLUMNS = (
    _Column("train loss", 12, _figure("train_loss")),
    _Column("val loss", 10, _figure("val_loss")),
    _Column("train mIoU", 12, _figure("train_miou")),
    _Column("val mIoU", 10, _figure("val_miou")),
    _Column("accuracy", 10, _figure("val_accuracy")),
    _Column("images/s", 10, _figure("images_per_second", ".1f")),
    _Column("lr", 9, _figure("lr", ".1e")),
    _Column("data wait", 11, _figure("data_wait", ".0%")),
    _Column("val Dice", 10, _figure("val_dice")),
    _Column("lowest IoU of a class", 26, _worst),
)
_DISPENSABLE = (
    "lowest IoU of a class", "val Dice", "data wait", "lr", "accuracy", "train mIoU", "images/s", "val loss",
)  # fmt: skip
_BEST = "  best"


def _fitting(width: int) -> list[_Column]:
    """The figures of an epoch that fit into a width."""
    columns = list(_COLUMNS)
    for title in _DISPENSABLE:
        if sum(column.width for column in columns) <= width:
            break
        columns = [column for column in columns if column.title != title]
    return columns


def sparkline(values: Sequence[float], width: int) -> str:
    """Values as a row of small bars from the least to the largest; more than fit in are averaged in turn."""
    known = [value for value in values if not isnan(value)]
    width = min(width, len(known))
    if not width:
        return ""
    edges = [round(place * len(known) / width) for place in range(width + 1)]
    means = [sum(known[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    steps = len(_BARS) - 1
    return "".join(_BARS[round((value - low) / (high - low) * steps) if high > low else 0] for value in means)


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:07 or 1:02:07."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class TrainingView:
    """Shows a training: a line for every epoch, and below them what goes on now.

    Args:
        console: where.
        shown: whether there is anything to show; one of several processes does.
        quiet: only remarks.
    """

    def __init__(self, console: "Console", shown: bool = True, quiet: bool = False) -> None:
        self.console, self.shown, self.quiet = console, shown, quiet
        self.started = False
        self.folder = Path()
        self.epochs = self.steps = self.first_step = self.epoch_width = 0
        self.columns: list[_Column] = []
        self.step: events.Stepped | None = None
        self.work: events.Progressed | None = None
        self.losses: list[float] = []
        self.mious: list[float] = []
        self.since = time.monotonic()
        self.training_since: float | None = None

    def __call__(self, event: "Event") -> None:
        """Shows an event."""
        from segcli.engine.training import events

        self.started |= isinstance(event, events.Started)
        match event:
            case events.Started():
                self._start(event)
            case events.LengthSettled():
                self.epochs, self.steps = event.epochs, event.steps
            case events.Stepped():
                self._step(event)
            case events.Progressed():
                self.work = event if event.done < event.total else None
            case events.EpochEnded():
                self._epoch(event)
            case events.Said():
                self.say(event.text)

    def say(self, text: str) -> None:
        """Shows a remark."""
        if self.shown:
            self.console.print(f"[remark]note:[/] {escape(text)}")

    def _start(self, event: "events.Started") -> None:
        from rich.table import Table

        self.folder, self.epochs, self.steps = event.folder, event.epochs, event.steps
        self.epoch_width = max(2 * len(str(event.epochs)) + 2, 7)
        self.columns = _fitting(self.console.width - self.epoch_width - len(_BEST))
        if not self.shown or self.quiet:
            return
        facts = Table.grid(padding=(0, 2, 0, 0))
        facts.add_column(justify="right", style="bold", no_wrap=True)
        facts.add_column(overflow="fold")
        for name, value in {"run": str(event.folder), **event.facts}.items():
            facts.add_row(name, escape(value))
        self.console.print(facts)
        titles = "".join(f"{column.title:>{column.width}}" for column in self.columns)
        self.console.print(f"[bold]{'epoch':>{self.epoch_width}}{titles}[/]")

    def _step(self, event: "events.Stepped") -> None:
        if self.training_since is None:
            self.training_since, self.first_step = time.monotonic(), event.done
        self.step, self.work = event, None
        self.losses = [*self.losses[-_LOSSES:], event.loss]

    def _epoch(self, event: "events.EpochEnded") -> None:
        row = event.row
        self.work = None
        if row.get("val_miou") is not None:
            self.mious.append(row["val_miou"])
        if not self.shown or self.quiet:
            return
        figures = "".join(f"{column.text(row):>{column.width}}" for column in self.columns)
        line = escape(f"{row['epoch']}/{self.epochs}".rjust(self.epoch_width) + figures)
        self.console.print(f"[good]{line}{_BEST}[/]" if event.best else line)

    def _left(self, done: int) -> str:
        """The time that the steps not yet done will take, if they take as long as those seen."""
        seen = done - self.first_step
        if self.training_since is None or not seen:
            return "…"
        return clock((time.monotonic() - self.training_since) / seen * (self.steps - done))

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """What goes on now: a bar, the figures of the last step, and curves where there is something to see."""
        from rich.text import Text

        for line in self.lines(options.max_width):
            yield Text(line, no_wrap=True, overflow="ellipsis")

    def lines(self, width: int) -> list[str]:
        """The live view, line by line; each fits into the width."""
        if self.step is None:
            return [self._working(width, clock(time.monotonic() - self.since))]
        step, share = self.step, self.step.done / self.steps
        head = f"step {step.done}/{self.steps}"
        left = f"{share:4.0%}  {self._left(step.done)} left"
        lines = [
            f"{head} {bar(share, width - len(head) - len(left) - 2)} {left}",
            f"epoch {step.epoch}/{self.epochs}  {step.step}/{step.steps}  {step.images_per_second:.1f} images/s  "
            f"loss {step.loss:.4f}  lr {step.lr:.1e}",
        ]
        room = (width - 32) // 2
        if len(self.losses) > 1 and room >= 8:
            curve = f"loss {sparkline(self.losses, room)} {self.losses[-1]:.3f}"
            if len(self.mious) > 1:
                curve += f"   val mIoU {sparkline(self.mious, room)} {self.mious[-1]:.3f}"
            lines.append(curve)
        if self.work is not None:
            lines.append(self._working(width, ""))
        return lines

    def _working(self, width: int, passed: str) -> str:
        """The work besides steps that is under way."""
        if self.work is None:
            return f"getting ready  {passed}"
        share = self.work.done / max(self.work.total, 1)
        count = f"{self.work.done}/{self.work.total}"
        return f"{self.work.what} {bar(share, min(width - len(self.work.what) - len(count) - 2, 28))} {count}"


def bar(share: float, width: int) -> str:
    """A bar of a width, filled to a share (0…1)."""
    full = round(min(max(share, 0), 1) * max(width, 0))
    return "━" * full + "╌" * (max(width, 0) - full)


@contextmanager
def training(shown: bool = True, quiet: bool = False) -> Iterator[TrainingView]:
    """Gives an observer that shows a training: off a terminal its lines only, and if it is quiet only remarks."""
    from rich.live import Live

    console = console_on(stderr=True)
    view = TrainingView(console, shown, quiet)
    if not shown or quiet or not console.is_terminal:
        yield view
        return
    with Live(
        get_renderable=lambda: view,
        console=console,
        refresh_per_second=_A_SECOND,
        transient=True,
        redirect_stdout=False,
    ):
        yield view
