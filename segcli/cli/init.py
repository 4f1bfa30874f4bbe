"""seg init: a config made for a dataset."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli import choices, complete, help, options, render
from segcli.cli.reading_options import Layout, with_reading_options
from segcli.duration import parse_duration
from segcli.errors import UsageError

if TYPE_CHECKING:
    from segcli.datasets.dataset import Dataset
    from segcli.datasets.layouts.base import Options
    from segcli.engine.planning.plan import Plan
    from segcli.parallel import Progress

EXAMPLES = help.examples(
    "seg init data/mine --budget 30m  # the best that half an hour gives here, as mine.yml",
    "seg init my_data -o mine.yml --domain road  # checks and prepares the folder first",
    "seg init my_data --classes background,crack --map 255=1  # masks of 0 and 255",
)


@with_reading_options
def init(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET",
            rich_help_panel=help.READS,
            autocompletion=complete.datasets,
            help="A prepared dataset, or a folder or archive that `seg dataset prepare` takes.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The config. [default: DATASET.yml]", rich_help_panel=help.WRITES
        ),
    ] = None,
    layout: Layout = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TIME",
            rich_help_panel=help.COMPUTES,
            help="What the training may take on this machine: 30m, 2h, 1h30m. [default: what the data wants]",
        ),
    ] = None,
    domain: Annotated[
        str,
        typer.Option(
            "--domain",
            metavar="NAME",
            rich_help_panel=help.COMPUTES,
            autocompletion=complete.domains,
            callback=options.one_of("domain", choices.DOMAINS),
            help="What the images are: generic, road, aerial, medical or document.",
        ),
    ] = "generic",
    device: options.Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a config that is there.", rich_help_panel=help.WRITES)
    ] = False,
    as_json: options.Json = False,
    *,
    reading: "Options",
    typed: str,
) -> None:
    """Write a config made for a dataset, each choice beside the figure that led to it."""
    seconds = _seconds(budget)
    path = output or Path(f"{source.resolve().name.partition('.')[0]}.yml")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} is there already; name another file with -o, or replace it with --overwrite")
    with render.progress() as progress:
        dataset, root = _opened(source, layout, reading, typed, progress)
        plan = _plan(dataset, root, device, domain, seconds, progress)
    from segcli.engine.planning.write import write_plan

    given = f" --layout {layout}" if layout else ""
    given += f" {typed}" if typed else ""
    given += f" --budget {budget}" if budget else ""
    given += f" --domain {domain}" if domain != "generic" else ""
    given += f" --device {device}" if device != "auto" else ""
    write_plan(plan, path, f"seg init {render.command_path(source)}{given}")
    if as_json:
        render.as_json({**plan.to_json(), "config": str(path)})
        return
    from segcli.cli import render_plan

    render_plan.plan_table(plan)
    render.files([path])
    render.next_steps(f"seg train -c {render.command_path(path)}")


def _seconds(budget: str | None) -> float | None:
    if budget is None:
        return None
    try:
        return parse_duration(budget)
    except ValueError as error:
        raise UsageError(f"--budget {budget}: {error}") from None


def _opened(
    source: Path, layout: str | None, reading: "Options", typed: str, progress: "Progress"
) -> "tuple[Dataset, Path]":
    """The dataset and its prepared folder, which is written where it is not there."""
    from segcli.cli import render_data
    from segcli.datasets.check.kinds import check_command
    from segcli.datasets.download.named import find_native
    from segcli.datasets.layouts.detect import find_source
    from segcli.datasets.prepared.format import Description, is_prepared, open_prepared
    from segcli.datasets.prepared.write import place_of, prepare

    if is_prepared(source):
        if typed or layout:
            useless = typed or f"--layout {layout}"
            raise UsageError(
                f"{source} is prepared already; {useless} tells how a dataset is read that is not: leave it out"
            )
        return open_prepared(source), source
    native = find_native(str(source), layout, None, reading, progress, render.note)
    target = native.target
    if target.resolve() == native.folder.resolve():
        target = target.with_name(f"{target.name}_prepared")
    again = f"seg dataset prepare {render.command_path(source)} {typed}".rstrip()
    found = find_source(native.layout, native.folder, reading)
    if is_prepared(target):
        before = Description.read(target).source
        if place_of(before) != place_of(found.origin):
            raise UsageError(
                f"{target} holds what was prepared from {before}; prepare this under another name, and plan for that: "
                f"{again} --to {target}_2"
            )
        if not typed:
            render.note(f"{target} was prepared before and is used as it is; where the data has changed: {again}")
            return open_prepared(target), target
    check = check_command(native.folder, f"--layout {native.layout.name} {typed}")
    made = prepare(found, target, reading, progress=progress, where_to_look=check)
    render.note(f"prepared as {target}; with other classes or splits: {again} --help")
    render_data.findings_briefly(made.findings, check)
    return made.dataset, target


def _plan(
    dataset: "Dataset", root: Path, device: str, domain: str, budget: float | None, progress: "Progress"
) -> "Plan":
    began = time.perf_counter()
    from segcli.engine.device import pick_device
    from segcli.engine.planning.figures import measure_figures
    from segcli.engine.planning.network import available_network
    from segcli.engine.planning.plan import make_plan
    from segcli.engine.planning.probe import measure_speed

    importing = time.perf_counter() - began  # which `seg train` will take, too
    place = pick_device(device).type
    figures = measure_figures(dataset, progress)
    network = available_network(place)
    return make_plan(
        dataset, figures, network, place, domain, budget, {"root": str(root)}, progress,
        partial(measure_speed, importing=importing), named=device != "auto",
    )  # fmt: skip
