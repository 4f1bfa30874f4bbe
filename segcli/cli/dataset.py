"""seg dataset: native layouts to prepared datasets, checked and measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli import choices, complete, help, options, recipes, render
from segcli.cli.reading_options import Layout, with_reading_options
from segcli.errors import UsageError

if TYPE_CHECKING:
    from segcli.datasets.layouts.base import Options

_LAYOUTS = f"{', '.join(choices.LAYOUTS[:-1])} or {choices.LAYOUTS[-1]}"

app = help.Commands("Prepare, check and measure datasets.")

Target = Annotated[
    Path,
    typer.Argument(
        metavar="DATASET", rich_help_panel=help.READS, autocompletion=complete.datasets,
        help="A prepared dataset, a folder, or a native dataset.",
    ),
]  # fmt: skip


@app.command(
    "prepare",
    epilog=help.examples(
        "seg dataset prepare voc  # downloaded, to data/voc",
        "seg dataset prepare my_data --classes background,crack --map 255=1  # to data/my_data",
        "seg dataset prepare cityscapes --from downloads/  # from the archives in a folder",
    ),
)
@with_reading_options
def prepare(
    what: Annotated[
        str,
        typer.Argument(
            metavar="LAYOUT|FOLDER|ARCHIVE",
            rich_help_panel=help.READS,
            autocompletion=complete.layouts,
            help=f"A folder or an archive; or a layout: {_LAYOUTS}.",
        ),
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            rich_help_panel=help.READS,
            help="Where the data of the LAYOUT lies, or its archives. [default: downloaded]",
        ),
    ] = None,
    layout: Layout = None,
    target: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIR",
            rich_help_panel=help.WRITES,
            help="Where to write. [default: data/LAYOUT, or data/NAME for a folder NAME of your own]",
        ),
    ] = None,
    copy: Annotated[
        bool, typer.Option("--copy", rich_help_panel=help.WRITES, help="Copy images instead of linking them.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", rich_help_panel=help.WRITES, help="Replace what was prepared from other data."),
    ] = False,
    *,
    reading: "Options",
    typed: str,
) -> None:
    """Turn a native dataset into a prepared one: images, index masks and dataset.yml."""
    with render.starting():
        from segcli.datasets.check.kinds import check_command
        from segcli.datasets.download.named import find_native
        from segcli.datasets.layouts.detect import find_layout, find_source, refuse_useless
        from segcli.datasets.prepared.format import is_prepared
        from segcli.datasets.prepared.write import prepare as prepare_source

    if what in choices.LAYOUTS:
        refuse_useless(find_layout(what), reading)  # before anything is fetched
    with render.progress() as progress:
        native = find_native(what, layout, source, reading, progress, render.note)
        chosen = native.layout
        target = target or native.target
        found = find_source(chosen, native.folder, reading)
        check = check_command(native.folder, f"--layout {chosen.name} {typed}")
        replaces = is_prepared(target)
        made = prepare_source(
            found, target, reading, "none" if copy else "any", progress, check, overwrite or not chosen.open
        )
    if replaces:
        render.note(f"replaced the dataset in {target}")
    from segcli.cli import render_data

    render_data.dataset_table(made.dataset)
    render_data.findings_briefly(made.findings, check)
    render.files([target])
    ready = {"train", "val"} <= made.dataset.splits.keys()
    render.next_steps(*(recipes.how_to_train(chosen.name, target) if ready else _how_to_use(target)))


def _how_to_use(prepared: Path) -> list[str]:
    return [f"seg eval -d {render.command_path(prepared)}", f"seg dataset stats {render.command_path(prepared)}"]


@app.command(
    "check",
    epilog=help.examples(
        "seg dataset check my_data  # what is wrong, and what mends it",
        "seg dataset check my_data --fix mended  # a mended, prepared copy",
        "seg dataset check my_data --json > findings.json",
    ),
)
@with_reading_options
def check(
    dataset: Target,
    layout: Layout = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            "--fix",
            metavar="DIR",
            rich_help_panel=help.WRITES,
            help="Write a mended copy there; the source stays as it is.",
        ),
    ] = None,
    as_json: options.Json = False,
    *,
    reading: "Options",
    typed: str,
) -> None:
    """Find what is wrong with a dataset before training on it; exit code 1 if there are errors."""
    with render.starting():
        from segcli.datasets.check.kinds import check_command
        from segcli.datasets.check.report import check as check_dataset
        from segcli.datasets.open import open_source
        from segcli.datasets.prepared.mended_copy import write_mended

    with render.progress() as progress:
        source = open_source(options.find_dataset(dataset), layout, reading)
        report = check_dataset(source, reading, progress, check_command(dataset, _with_layout(layout, typed)))
        mended = write_mended(report, fix, progress) if fix is not None else None
    if as_json:
        render.as_json({**report.to_json(), **({"mended": mended.to_json()} if mended else {})})
    else:
        from segcli.cli import render_data

        render_data.check_report(report, mended is not None)
        if mended is not None:
            render_data.mended(mended)
            render.files([mended.folder])
    if report.errors and mended is None:
        raise typer.Exit(1)


@app.command(
    "stats",
    epilog=help.examples(
        "seg dataset stats data/voc  # tables, and voc-stats.html with pictures of every class",
        "seg dataset stats data/voc --html page.html",
        "seg dataset stats data/voc --json  # figures alone",
    ),
)
@with_reading_options
def stats(
    dataset: Target,
    layout: Layout = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            rich_help_panel=help.WRITES,
            help="Where the page goes. [default: NAME-stats.html; none with --json]",
        ),
    ] = None,
    as_json: options.Json = False,
    *,
    reading: "Options",
    typed: str,
) -> None:
    """Measure a dataset: pixels, images and objects of each class, sizes, and class weights; with an HTML page."""
    with render.starting():
        from segcli.datasets.check.judge import survey
        from segcli.datasets.check.kinds import check_command
        from segcli.datasets.check.scan import LookCache
        from segcli.datasets.open import open_source
        from segcli.datasets.stats.measure import measure
        from segcli.datasets.stats.page import write_page

    if page is None and not as_json:
        page = Path(f"{dataset.resolve().name}-stats.html")
    if page is not None and page.is_dir():
        raise UsageError(f"--html {page} is a folder; name a file")
    with render.progress() as progress:
        source = open_source(options.find_dataset(dataset), layout, reading)
        found = survey(source, reading, progress, LookCache(source))
        figures = measure(found, progress, check_command(dataset, _with_layout(layout, typed)))
        if page is not None:
            write_page(figures, page)
    if as_json:
        render.as_json({**figures.to_json(), **({"page": str(page)} if page else {})})
        return
    from segcli.cli import render_data

    render_data.statistics_tables(figures)
    render.files([page] if page else [])


def _with_layout(layout: str | None, typed: str) -> str:
    return f"--layout {layout} {typed}" if layout else typed
