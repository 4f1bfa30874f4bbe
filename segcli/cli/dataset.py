"""seg dataset: native layouts to prepared datasets, checked and measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli import options, render, render_data
from segcli.cli.reading_options import with_reading_options
from segcli.errors import UsageError

if TYPE_CHECKING:
    from segcli.datasets.layouts.base import Options

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Prepare, check and measure datasets.")

_LAYOUTS = "ade20k, camvid, cityscapes, coco, coco_stuff, cvat, darwin, folder, labelme, shapes or voc"
_RECIPES = {"ade20k", "camvid", "cityscapes", "coco_stuff", "folder", "voc"}
Layout = Annotated[str | None, typer.Option("--layout", help=f"{_LAYOUTS}. [default: told by what lies in the folder]")]
Target = Annotated[Path, typer.Argument(metavar="DATASET", help="A prepared dataset, a folder, or a native dataset.")]


@app.callback()
def _group() -> None:
    """Prepare, check and measure datasets."""


@app.command("prepare")
@with_reading_options
def prepare(
    layout: Annotated[str, typer.Argument(help=f"{_LAYOUTS}.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="The native dataset, or its archives. [default: downloaded]"),
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where to write. [default: data/LAYOUT]")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy images instead of linking them.")] = False,
    *,
    reading: "Options",
    typed: str,
) -> None:
    """Turn a native dataset into a prepared one: images, index masks and dataset.yml."""
    from segcli.datasets.check.kinds import check_command
    from segcli.datasets.download.catalogue import obtain
    from segcli.datasets.layouts.detect import find_layout, refuse_useless
    from segcli.datasets.prepared.write import prepare as prepare_source

    chosen = find_layout(layout)
    refuse_useless(chosen, reading)
    target = target or Path("data") / layout
    if target.exists() and any(target.iterdir() if target.is_dir() else ()):
        render.note(f"replacing the dataset in {target}")
    with render.progress() as progress:
        if chosen.needs_folder:
            source = obtain(chosen, source, reading.variant, progress, render.note)
        found = chosen.find(source or Path(), reading)
        check = check_command(source or Path(), f"--layout {layout} {typed}")
        made = prepare_source(found, target, reading, "none" if copy else "any", progress, check)
    render_data.dataset_table(made.dataset)
    render_data.findings_briefly(made.findings, check)
    render.files([target])
    if not {"train", "val"} <= made.dataset.splits.keys():
        render.next_steps(f"seg eval -d {render.command_path(target)}")
        return
    recipe = layout if layout in _RECIPES else "folder"
    here = f" --set dataset.root={render.command_path(target)}" if target != Path("data") / recipe else ""
    render.next_steps(f"seg train -c configs/{recipe}.yml{here}", f"seg dataset stats {render.command_path(target)}")


@app.command("check")
@with_reading_options
def check(
    dataset: Target,
    layout: Layout = None,
    fix: Annotated[
        Path | None, typer.Option("--fix", metavar="DIR", help="Write a mended copy there; the source stays as it is.")
    ] = None,
    as_json: options.Json = False,
    *,
    reading: "Options",
    typed: str,
) -> None:
    """Find what is wrong with a dataset before training on it; exit code 1 if there are errors."""
    from segcli.datasets.check.kinds import check_command
    from segcli.datasets.check.report import check as check_dataset
    from segcli.datasets.open import open_source
    from segcli.datasets.prepared.mended_copy import write_mended

    with render.progress() as progress:
        source = open_source(dataset, layout, reading)
        report = check_dataset(source, reading, progress, check_command(dataset, _with_layout(layout, typed)))
        mended = write_mended(report, fix, progress) if fix is not None else None
    if as_json:
        render.as_json({**report.to_json(), **({"mended": mended.to_json()} if mended else {})})
    else:
        render_data.check_report(report, mended is not None)
        if mended is not None:
            render_data.mended(mended)
            render.files([mended.folder])
    if report.errors and mended is None:
        raise typer.Exit(1)


@app.command("stats")
@with_reading_options
def stats(
    dataset: Target,
    layout: Layout = None,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Where the page goes. [default: NAME-stats.html]")
    ] = None,
    as_json: options.Json = False,
    *,
    reading: "Options",
    typed: str,
) -> None:
    """Measure a dataset: pixels, images and objects of each class, sizes, and class weights; with an HTML page."""
    from segcli.datasets.check.judge import survey
    from segcli.datasets.check.kinds import check_command
    from segcli.datasets.check.scan import LookCache
    from segcli.datasets.open import open_source
    from segcli.datasets.stats.measure import measure
    from segcli.datasets.stats.page import write_page

    page = page or Path(f"{dataset.resolve().name}-stats.html")
    if page.is_dir():
        raise UsageError(f"--html {page} is a folder; name a file")
    with render.progress() as progress:
        source = open_source(dataset, layout, reading)
        found = survey(source, reading, progress, LookCache(source))
        figures = measure(found, progress, check_command(dataset, _with_layout(layout, typed)))
        write_page(figures, page)
    if as_json:
        render.as_json({**figures.to_json(), "page": str(page)})
        return
    render_data.statistics_tables(figures)
    render.files([page])


def _with_layout(layout: str | None, typed: str) -> str:
    return f"--layout {layout} {typed}" if layout else typed
