"""Prints what `seg dataset` found and made; the part of the printer that knows datasets."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from segcli.cli.render import console_on, escape, new_table, note
from segcli.cli.render_table import show_table

if TYPE_CHECKING:
    from rich.table import Table

    from segcli.datasets.check.report import Report
    from segcli.datasets.dataset import Dataset
    from segcli.datasets.layouts.base import Finding
    from segcli.datasets.prepared.mended_copy import Mended
    from segcli.datasets.stats.measure import Statistics


def dataset_table(dataset: "Dataset") -> None:
    """Prints images and pixel shares of a dataset by split."""
    table = new_table(f"{dataset.name}: {dataset.task.num_classes} classes")
    table.add_column("class")
    splits = [split for split in dataset.splits if split in dataset.figures]
    for split in splits:
        table.add_column(f"{split} ({len(dataset.splits[split])})", justify="right")
    shares = {split: dataset.class_share(split) for split in splits}
    order = sorted(range(dataset.task.num_classes), key=lambda index: -max(shares[split][index] for split in splits))
    shown = set(order if len(order) <= _MANY_CLASSES else order[: _MANY_CLASSES // 2])
    for index, name in enumerate(dataset.task.classes):
        if index in shown:
            table.add_row(escape(name), *(_share(shares[split][index]) for split in splits))
    console = console_on(stderr=False)
    show_table(table, console)
    if len(shown) < len(order):
        console.print(f"the {len(shown)} most frequent of {len(order)} classes (`seg dataset stats` shows all)")


_MANY_CLASSES = 40


def _share(share: float) -> str:
    return f"{share:.2%}" if share else "never"


def statistics_tables(statistics: "Statistics") -> None:
    """Prints the figures of each split, and those of each class."""
    console = console_on(stderr=False)
    table = new_table(f"{statistics.name}: {statistics.task.num_classes} classes")
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
    show_table(table, console)
    table = new_table()
    table.add_column("class")
    for name in (*(f"{split} pixels" for split in masked), *(f"{split} images" for split in masked), "objects",
                 "median size", "median-frequency weight", "effective-number weight"):  # fmt: skip
        table.add_column(name, justify="right")
    weights = statistics.class_weights().values()
    for index, name in enumerate(statistics.task.classes):
        bins = [sum(counts) for counts in zip(*(figures.objects[index] for figures in masked.values()), strict=True)]
        table.add_row(
            escape(name), *(_share(figures.shares()[index]) for figures in masked.values()),
            *(str(figures.images_with[index]) for figures in masked.values()), str(sum(bins)), _median_size(bins),
            *(f"{weight[index]:.3g}" if weight[index] else "–" for weight in weights),
        )  # fmt: skip
    show_table(table, console)


def _median_size(bins: Sequence[int]) -> str:
    """The bin of the median object, by the side of a square of its area."""
    from segcli.datasets.stats.measure import OBJECT_SIDES

    if not sum(bins):
        return "–"
    place = next(place for place, seen in enumerate(accumulate(bins)) if seen >= sum(bins) / 2)
    lower, upper = (0, *OBJECT_SIDES)[place], (*OBJECT_SIDES, None)[place]
    return f"≥ {lower}²" if upper is None else f"{lower}² – {upper}²" if lower else f"< {upper}²"


_STYLES = {"error": "bad", "warning": "remark", "note": "bold"}


def findings_briefly(findings: "Sequence[Finding]", command: str) -> None:
    """Prints the warnings of a preparation, one a kind, and the command that shows all."""
    from segcli.datasets.check.kinds import Severity, severity_of

    warnings: dict[str, list[Finding]] = {}
    for finding in findings:
        if severity_of(finding) is not Severity.NOTE or finding.kind == "unlisted":
            warnings.setdefault(finding.kind, []).append(finding)
    for found in warnings.values():
        more = f" ({len(found)} of this kind)" if len(found) > 1 else ""
        note(f"{severity_of(found[0])}: {found[0].message}{more}")
    if warnings:
        console_on(stderr=True).print(f"all findings: {escape(command)}", soft_wrap=True)


def check_report(report: "Report", mended: bool = False) -> None:
    """Prints the findings of a check by kind: how many, an example, and the command that mends what is not mended."""
    from segcli.datasets.check.kinds import Severity

    console = console_on(stderr=False)
    pairs = ", ".join(f"{count} {split or 'pairs'}" for split, count in report.pairs.items())
    if report.rows:
        show_table(_findings_table(report), console)
    for row in report.rows:
        console.print(f"[{_STYLES[row.kind.severity.value]}]{row.kind.title}[/] ({len(row.findings)})")
        for finding in row.findings[:3]:
            console.print(f"  {escape(finding.message)}")
        if len(row.findings) > 3:
            console.print(f"  … and {len(row.findings) - 3} more (--json lists them all)")
    commands = dict.fromkeys(row.command for row in report.rows if row.command)
    if commands and not mended:
        console.print("[bold]mend[/]")
        for command in commands:
            console.print(f"  {escape(command)}", soft_wrap=True)
    counts = [(severity.value, report.count(severity)) for severity in Severity]
    summary = ", ".join(f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in counts)
    console.print(f"[bold]{escape(str(report.root))}[/]: {pairs}: {summary}")


def _findings_table(report: "Report") -> "Table":
    table = new_table()
    mended = ("mended by",) if any(row.option for row in report.rows) else ()
    for name in ("", "finding", "files", "example", *mended):
        table.add_column(name, justify="right" if name == "files" else "left", overflow="fold")
    for row in report.rows:
        severity, fixed = row.kind.severity.value, row.option.startswith("--fix")
        table.add_row(
            f"[{_STYLES[severity]}]{severity}[/]", row.kind.title, str(len(row.findings)),
            escape(_below(row.findings[0].file, report.root)),
            *(escape(f"--fix {row.kind.mended}" if fixed else row.option) for _ in mended),
        )  # fmt: skip
    return table


def _below(file: Path, root: Path) -> str:
    if file == root:
        return ""
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def mended(result: "Mended") -> None:
    """Prints what a mended copy changed and left out."""
    console = console_on(stderr=True)
    for title, entries in (("mended", result.changed), ("left out", result.left_out)):
        for file, what in list(entries.items())[:20]:
            console.print(f"[bold]{title}:[/] {escape(what if file in what else f'{file}: {what}')}")
        if len(entries) > 20:
            console.print(f"[bold]{title}:[/] … and {len(entries) - 20} more")
    console.print(f"{result.kept} pairs kept, {len(result.changed)} files mended, {len(result.left_out)} left out")
