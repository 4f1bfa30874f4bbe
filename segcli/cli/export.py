"""seg export: a model as a file for deployment."""

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli import help, options, render

app = help.Commands("Export a model for deployment.")


@app.command(
    "onnx",
    epilog=help.examples(
        "seg export onnx  # the newest model, to its run's export/",
        "seg export onnx --fp16 -o model.onnx",
    ),
)
def onnx(
    model: options.Bundle = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", rich_help_panel=help.COMPUTES, help="Half precision: half the size.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            rich_help_panel=help.WRITES,
            help="The file. [default: in the run's export/]",
        ),
    ] = None,
    data: options.Data = None,
) -> None:
    """Write an ONNX file that takes uint8 images of any size, checked against the model."""
    from segcli.io.rundir import output_folder

    path = options.find_model(model)
    target = output or output_folder(path, "export") / ("model-fp16.onnx" if fp16 else "model.onnx")
    from segcli.engine.export.onnx import export_onnx

    with render.progress() as progress:
        result = export_onnx(path, target, fp16, data, progress)
    render.parity_table(result)
    render.files([result.path])
    file = render.command_path(result.path)
    render.next_steps(f"seg eval -m {file}", f"seg predict -m {file} IMAGES")
