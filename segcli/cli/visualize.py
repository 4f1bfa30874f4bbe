"""seg visualize: pictures of what a model sees."""

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli import help, options, render
from segcli.errors import UsageError

EXAMPLES = help.examples(
    "seg visualize --overlay  # the val split of the newest model",
    "seg visualize images/ --overlay -o pictures",
    "seg visualize -m runs/camvid --split test --limit 8",
)


def visualize(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SOURCE…", rich_help_panel=help.READS, help="Images or folders. [default: the val split]"
        ),
    ] = None,
    model: options.Model = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", rich_help_panel=help.WRITES, help="Blend the mask over the image.")
    ] = False,
    panel: Annotated[
        bool,
        typer.Option(
            "--panel",
            rich_help_panel=help.WRITES,
            help="Image, truth, prediction and errors side by side; the default.",
        ),
    ] = False,
    data: options.Data = None,
    split: options.Split = "val",
    limit: Annotated[
        int,
        typer.Option("--limit", metavar="N", min=1, rich_help_panel=help.READS, help="Pictures of a split at most."),
    ] = 16,
    output: options.Output = None,
    size: options.Size = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    classes: options.Classes = None,
    mean: options.Mean = None,
    std: options.Std = None,
) -> None:
    """Draw predictions: overlays, or panels beside the truth."""
    if overlay and panel:
        raise UsageError("--overlay and --panel are two kinds of pictures; give one")
    if sources and data:
        raise UsageError("SOURCE and --data both say what to draw; give one")
    from segcli.engine.prediction.pictures import draw_files, draw_samples
    from segcli.engine.prediction.sources import find_sources
    from segcli.io.rundir import output_folder

    found = find_sources(sources) if sources else None
    path = options.find_model(model)
    predictor = options.load(path, device, precision, size=size, stranger=options.parse_stranger(classes, mean, std))
    folder = output or output_folder(path, "visualize")
    with render.progress() as progress:
        if found is not None:
            written = draw_files(predictor, found, folder, overlay, progress)
        else:
            dataset = options.open_data(data, predictor.card, progress)
            written = draw_samples(predictor, dataset.split(split)[:limit], folder, overlay, progress)
    render.files(written)
