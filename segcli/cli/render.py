"""The only printer: what was asked for goes to stdout, everything else to stderr."""

import gc
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcli.cli.render_table import show_table
from segcli.errors import SegError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from segcli.components.catalogue import Entry
    from segcli.engine.evaluation.scores import Scores
    from segcli.engine.evaluation.tta_search import Found
    from segcli.engine.export.int8 import Quantised
    from segcli.engine.export.parity import Parity
    from segcli.engine.training.dry_run import DryRun
    from segcli.task import Task


def new_table(title: str | None = None) -> "Table":
    """An empty table; a column that is added with overflow="fold" holds text, the others names and figures."""
    from rich.table import Table

    return Table(title=None if title is None else escape(title), title_justify="left")


def escape(text: str) -> str:
    """Text as rich prints it, without reading markup in it."""
    from rich.markup import escape

    return escape(text)


_STYLES = {
    "remark": "bold magenta",
    "good": "bold green",
    "bad": "bold red",
    "progress.elapsed": "none",
    "progress.remaining": "none",
    "progress.download": "none",
}
"""What can be read on dark and light backgrounds alike, unlike yellow, white, pale colours and Rich's own bars."""


def console_on(stderr: bool) -> "Console":
    """A console on the stream as it is now; off a terminal, lines are never wrapped or cut."""
    from rich.console import Console  # rich takes a third of the time of `seg --help`, which needs none of it
    from rich.theme import Theme

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty(), theme=Theme(_STYLES))


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
    text = f"{word} {problem}"
    if sys.stderr.isatty():
        text = wrapped(text, shutil.get_terminal_size().columns)
    label = f"\033[1;31m{word}\033[0m" if coloured else word
    sys.stderr.write(f"{label}{text.removeprefix(word)}\n")


def wrapped(text: str, width: int) -> str:
    """Text in lines of a width that break between words only; commands stay whole, so that they can be pasted."""
    from textwrap import wrap

    lines: list[str] = []
    for line in text.splitlines():
        said, hint, command = line.partition(" try: ")
        if said.startswith(("seg ", "try: ")):
            lines.append(line)
            continue
        lines += wrap(said, width, break_long_words=False, break_on_hyphens=False)
        if hint and len(lines[-1] + hint + command) <= width:
            lines[-1] += hint + command
        elif hint:
            lines.append(f"try: {command}")
    return "\n".join(lines)


def note(text: str) -> None:
    """Prints a remark."""
    console_on(stderr=True).print(escape(text))


def out(text: str) -> None:
    """Prints something that was asked for, as it is."""
    sys.stdout.write(text + "\n")


def as_json(values: Any) -> None:
    """Prints one JSON object."""
    out(json.dumps(values, indent=2))


def next_steps(*commands: str) -> None:
    """Prints what a user would likely do now."""
    console = console_on(stderr=True)
    console.print("[bold]next:[/]")
    for command in commands:
        console.print(f"  {escape(command)}", soft_wrap=True)  # a command that is broken cannot be pasted


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
    show_table(table, console)
    console.print(f"mIoU {_figure(scores.miou)}   pixel accuracy {_figure(scores.pixel_accuracy)}")


def trials_table(found: "Found") -> None:
    """Prints what each TTA policy gives and costs; those on the front in bold."""
    table = new_table()
    for name in ("policy", "mIoU", "95 % interval", "gain", "cost", "images/s", "gain per cost"):
        table.add_column(name, justify="left" if name == "policy" else "right", overflow="fold")
    for row in found.rows():
        rate = row["gain_per_cost"]
        table.add_row(
            row["policy"], _figure(row["miou"]), f"{row['miou_low']:.3f} – {row['miou_high']:.3f}",
            f"{row['gain']:+.4f}", f"{row['cost']:.3g}×", f"{row['images_per_second']:.3g}",
            "" if rate is None else f"{rate:+.4f}", style="bold" if row["front"] else None,
        )  # fmt: skip
    show_table(table, console_on(stderr=False))


MOST_ROWS = 20
"""Rows of a table that is only a glance."""


def shares_table(rows: Sequence[tuple[Path, Sequence[float]]], task: "Task", total: int) -> None:
    """Prints the largest classes of the first few of some predicted images."""
    table = new_table()
    table.add_column("image", overflow="fold")
    table.add_column("classes", overflow="fold")
    for source, shares in rows:
        largest = sorted(range(len(shares)), key=lambda index: -shares[index])[:5]
        shown = ", ".join(f"{task.classes[index]} {shares[index]:.0%}" for index in largest if shares[index] >= 0.005)
        table.add_row(escape(source.name), escape(shown))
    console = console_on(stderr=True)
    show_table(table, console)
    if total > len(rows):
        console.print(f"… and {total - len(rows)} more")


def entries_table(entries: "Sequence[Entry]") -> None:
    """Prints what there is to choose from; names alone, where nothing else is known, one a line."""
    titles = list(dict.fromkeys(title for entry in entries for title in entry.facts))
    if not titles:
        out("\n".join(entry.name for entry in entries))
        return
    table = new_table()
    table.add_column("name")
    for title in titles:
        table.add_column(title, overflow="fold", justify="right" if title in {"parameters", "stride"} else "left")
    for entry in entries:
        table.add_row(escape(entry.name), *(escape(entry.facts.get(title, "")) for title in titles))
    show_table(table, console_on(stderr=False))


@contextmanager
def progress() -> Iterator[Any]:
    """Gives a function (what, done, total) that shows a bar for each kind of work; nothing off a terminal.

    Until it is called first, a line tells that work goes on. A total of 0 is one that is not known.
    """
    if not sys.stderr.isatty():
        from segcli.parallel import silent

        yield silent
        return
    bars, tasks = _bars(), dict[str, "TaskID"]()
    with ExitStack() as shown, ExitStack() as before:
        before.enter_context(_waiting("working"))

        def show(what: str, done: int, total: int) -> None:
            if not tasks:
                before.close()
                shown.enter_context(bars)
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None, rate="")
            elif done < bars.tasks[tasks[what]].completed:  # the same again, of another image
                bars.reset(tasks[what])
            speed = bars.tasks[tasks[what]].speed
            rate = f"{speed:.3g}/s" if speed else ""
            bars.update(tasks[what], completed=done, total=total or None, rate=rate)

        yield show


@contextmanager
def starting(shown: bool = True) -> Iterator[None]:
    """For the imports that a command begins with, where torch takes seconds: a sign of life, on a terminal."""
    with gc_paused(), _waiting("starting", shown):
        yield


@contextmanager
def gc_paused() -> Iterator[None]:
    """Looks for no garbage meanwhile: imports leave none, and the search took a tenth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # what there is now counts as old, and is not searched at once
        gc.enable()


@contextmanager
def _waiting(what: str, shown: bool = True) -> Iterator[None]:
    """Says what is waited for, with a sign of life; nothing off a terminal, and of several processes one does."""
    if not shown or not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        yield
        return
    with console_on(stderr=True).status(f"{escape(what)} …", spinner_style="bold"):
        yield


def _bars() -> "Progress":
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )  # fmt: skip
    from rich.table import Column

    console = console_on(stderr=True)
    return Progress(
        TextColumn("{task.description}", table_column=Column(overflow="fold")),
        BarColumn(bar_width=max(min(28, console.width - 52), 8)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[rate]}", table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        TextColumn("left", table_column=Column(no_wrap=True)),
        console=console,
        transient=True,
    )


def dry_run_table(found: "DryRun") -> None:
    """Prints what a training would be like."""
    table = new_table("what it would take")
    table.add_column("figure")
    table.add_column("measured", overflow="fold")
    for name, value in found.facts.items():
        table.add_row(name, escape(value))
    table.add_section()
    table.add_row("loss of the first step", f"{found.loss:.4f}")
    table.add_row("a step", duration(found.seconds_a_step))
    table.add_row("an image of the validation", duration(found.seconds_a_val_image))
    table.add_row("memory at its peak", f"{found.peak_memory / 2**30:.2f} GiB")
    table.add_row(
        f"{found.steps} steps, {found.validations} validations of {found.val_images} images", duration(found.seconds)
    )
    show_table(table, console_on(stderr=False))


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _figure(value: float) -> str:
    return "–" if value != value else f"{value:.4f}"


def quantised_table(found: "Quantised") -> None:
    """Prints which layers compute in int8 and which are kept in float, and what that costs in mIoU."""
    layers = new_table(f"layers, ranges from {found.num_calibration} train images")
    layers.add_column("layers", overflow="fold")
    layers.add_column("error alone", justify="right")
    layers.add_column("computed in")
    for layer in found.layers:
        error = "–" if layer.error is None else f"{layer.error:.2%}"
        layers.add_row(escape(layer.name), error, "float" if layer.kept else "int8")
    costs = new_table(f"mIoU on the {found.num_search} val images that the layers were chosen on")
    costs.add_column("")
    for name in ("mIoU", "lost points"):
        costs.add_column(name, justify="right")
    kept = sum(layer.kept for layer in found.layers)
    rows = [("all in float", found.miou_float), ("all in int8", found.miou_all)]
    rows += [(f"{kept} of {len(found.layers)} kept in float", found.miou)] if kept else []
    for name, miou in rows:
        costs.add_row(name, _figure(miou), f"{100 * (found.miou_float - miou):.2f}")
    console = console_on(stderr=False)
    if kept:
        show_table(layers, console)
    show_table(costs, console)


def parity_table(parity: "Parity") -> None:
    """Prints how far an exported file agrees with its model, and what it costs."""
    table = new_table(f"{parity.precision} file against the model in fp32, on {parity.images}")
    compared = "probabilities" if parity.output == "probabilities" else "logits"
    for name in ("size", "batch", "images", "equal labels", f"largest difference of {compared}"):
        table.add_column(name, justify="right")
    for agreement in parity.agreements:
        table.add_row(
            f"{agreement.size[1]}×{agreement.size[0]}", str(agreement.batch), str(agreement.num_images),
            f"{agreement.labels:.3%}", "–" if agreement.difference is None else f"{agreement.difference:.2g}",
        )  # fmt: skip
    console = console_on(stderr=False)
    show_table(table, console)
    costs = new_table()
    for name in ("", "mIoU", "ms/image", "size"):
        costs.add_column(name, justify="right" if name else "left")
    for place, (name, num_bytes) in enumerate((("model", parity.model_bytes), ("file", parity.num_bytes))):
        miou = "–" if parity.miou is None else _figure(parity.miou[place])
        costs.add_row(name, miou, f"{parity.milliseconds[place]:.0f}", f"{num_bytes / 1e6:.1f} MB")
    show_table(costs, console)
