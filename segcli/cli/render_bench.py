"""Prints what `seg bench` measured; the part of the printer that knows costs of models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcli.cli.render import console_on, escape, new_table
from segcli.cli.render_table import show_table

if TYPE_CHECKING:
    from segcli.engine.export.bench import Measured, Plan


def models_table(found: "Sequence[Measured]", facts: Mapping[str, Any]) -> None:
    """Prints what does not depend on the batch, a row a model: as measured with the last number of threads."""
    table = new_table(f"{facts['processor']}, {facts['cores']} cores")
    table.add_column("model", overflow="fold")
    table.add_column("format")
    for name in ("size", "load", "peak memory", "mIoU"):
        table.add_column(name, justify="right")
    last = {measured.model: measured for measured in found}
    for name, measured in zip(short_names(list(last)), last.values(), strict=True):
        table.add_row(
            escape(name), measured.precision, f"{measured.num_bytes / 1e6:.1f} MB", f"{measured.load_seconds:.2f} s",
            f"{measured.peak_memory / 1e6:.0f} MB", "–" if measured.miou is None else f"{measured.miou:.4f}",
        )  # fmt: skip
    show_table(table, console_on(stderr=False))


def speed_table(found: "Sequence[Measured]", plan: "Plan") -> None:
    """Prints latency and throughput, a row for each model, number of threads and batch."""
    height, width = found[0].image_size
    table = new_table(
        f"image to mask, {width}×{height}; {plan.repeats} predictions after {plan.warm_up} to warm up; "
        "spread: the quartiles' distance"
    )
    table.add_column("model", overflow="fold")
    for name in ("threads", "batch", "p50", "p95", "spread", "images/s"):
        table.add_column(name, justify="right")
    models = list(dict.fromkeys(measured.model for measured in found))
    names = dict(zip(models, short_names(models), strict=True))
    for measured in found:
        for timing in measured.timings:
            table.add_row(
                escape(names[measured.model]), str(measured.threads), str(timing.batch), _ms(timing.latency(50)),
                _ms(timing.latency(95)), f"±{timing.spread / 2:.0%}", f"{timing.images_per_second:.2f}",
            )  # fmt: skip
    show_table(table, console_on(stderr=False))


def short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without the folders that all of them share: their last parts, as few as tell them apart."""
    least = 2 if any(path.name in {"best", "last"} for path in paths) else 1  # of which every run has one
    for number in range(least, max((len(path.parts) for path in paths), default=1)):
        names = ["/".join(path.parts[-number:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            return names
    return [str(path) for path in paths]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
