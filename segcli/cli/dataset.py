"""seg dataset: native layouts to prepared datasets."""

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli import options, render
from segcli.errors import UsageError, did_you_mean

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Prepare datasets.")


@app.callback()
def _group() -> None:
    """Prepare datasets."""


@app.command("prepare")
def prepare(
    layout: Annotated[str, typer.Argument(help="ade20k, camvid, cityscapes, coco_stuff, folder, shapes or voc.")],
    source: Annotated[Path | None, typer.Option("--from", metavar="DIR", help="The native dataset.")] = None,
    target: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where to write. [default: data/LAYOUT]")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy images instead of linking them.")] = False,
    images: Annotated[str, typer.Option(help="folder: where the images are, below --from.")] = "images",
    masks: Annotated[str, typer.Option(help="folder: where the masks are, below --from.")] = "masks",
    split: Annotated[
        str | None, typer.Option(help="folder: shares of train, val and maybe test. [default: 0.8,0.2]")
    ] = None,
    seed: Annotated[int, typer.Option(help="folder: seed of the split.")] = 0,
    classes: Annotated[
        str | None, typer.Option(metavar="A,B,…", help="folder: names of the classes. [default: counted]")
    ] = None,
    value_map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="VALUE=CLASS", help="folder: what a mask value means."),
    ] = None,
    ignore_index: Annotated[
        int | None, typer.Option(min=0, max=65535, help="folder: the mask value to ignore.")
    ] = None,
) -> None:
    """Turn a native dataset into a prepared one: images, index masks and dataset.yml."""
    from segcli.datasets.folder import FolderOptions
    from segcli.datasets.layouts import LAYOUTS
    from segcli.datasets.prepared import write_prepared

    if layout not in LAYOUTS:
        raise UsageError(f"unknown layout {layout!r}; {did_you_mean(layout, LAYOUTS)}")
    if LAYOUTS[layout].needs_folder and source is None:
        raise UsageError(f"seg dataset prepare {layout} needs the folder of the native data: --from DIR")
    chosen = FolderOptions(
        images,
        masks,
        options.numbers(split, "--split") if split else None,
        seed,
        [name.strip() for name in classes.split(",")] if classes else None,
        ignore_index,
        options.value_map(value_map or []),
    )
    target = target or Path("data") / layout
    with render.progress() as progress:
        found = LAYOUTS[layout].find(source or Path(), chosen, progress)
        prepared = write_prepared(found, target, copy, progress)
    render.dataset_table(prepared)
    render.files([target])
    render.next_steps(f"seg train -c CONFIG --set dataset='{{root: {target}}}'")
