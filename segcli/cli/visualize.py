"""seg visualize: pictures of what a model sees."""

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli import help, options, render
from segcli.errors import UsageError

EXAMPLES = help.examples(
    "seg visualize  # image, truth, prediction and errors, from all over the val split",
    "seg visualize --overlay --worst --limit 40  # where the model does worst",
    "seg visualize --overlay images/  # images without masks",
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
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="Pictures at most, chosen evenly over the split.",
            rich_help_panel=help.READS,
        ),
    ] = 16,
    worst: Annotated[
        bool,
        typer.Option("--worst", help="Those of the lowest IoU instead, the worst first.", rich_help_panel=help.READS),
    ] = False,
    output: options.Output = None,
    size: options.Size = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    classes: options.Classes = None,
    mean: options.Mean = None,
    std: options.Std = None,
) -> None:
    """Draw predictions: overlays, or panels beside the truth; several come on a contact sheet too."""
    if overlay and panel:
        raise UsageError("--overlay and --panel are two kinds of pictures; give one")
    if sources and data:
        raise UsageError("SOURCE and --data both say what to draw; give one")
    if sources and worst:
        raise UsageError("--worst needs masks, and SOURCE has none; give a dataset with --data")
    from segcli.engine.evaluation.worst import worst_samples
    from segcli.engine.prediction.pictures import draw_files, draw_samples, evenly
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
            samples = dataset.split(split)
            chosen = worst_samples(predictor, samples, limit, progress) if worst else evenly(samples, limit)
            written = draw_samples(predictor, chosen, folder, overlay, progress)
    render.files(written)
