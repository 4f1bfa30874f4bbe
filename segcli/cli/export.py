"""seg export: a model as a file for deployment."""

from pathlib import Path
from typing import Annotated

import typer

from segcli.cli import choices, complete, help, options, render
from segcli.errors import UsageError

EXAMPLES = help.examples(
    "seg export onnx --fp16  # half the size, checked on four val images",
    "seg export onnx --int8 --max-drop 0.5  # eight bits wherever they lose at most half a point of mIoU",
    "seg export onnx --output labels --resize inside  # images in, masks out, nothing to be done around it",
    "seg export openvino -m runs/camvid --verify 50",
)


def export(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            rich_help_panel=help.WRITES,
            help="onnx, openvino, torch, tflite or savedmodel.",
            show_default=False,
            autocompletion=complete.targets,
            callback=options.one_of("target", choices.TARGETS),
        ),
    ],
    model: options.Bundle = None,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Half precision: half the size.", rich_help_panel=help.WRITES)
    ] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Eight bits, where they do no harm: a quarter of the size.", rich_help_panel=help.WRITES
        ),
    ] = False,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="NAME",
            rich_help_panel=help.WRITES,
            help="nchw or nhwc: images are B×3×H×W or B×H×W×3. [default: the target's own]",
        ),
    ] = None,
    gives: Annotated[
        str,
        typer.Option(
            "--output",
            metavar="NAME",
            help="What it gives: logits, probabilities or labels.",
            rich_help_panel=help.WRITES,
        ),
    ] = "logits",
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="N|HxW",
            rich_help_panel=help.WRITES,
            help="The only size that it takes. [default: any, where target and network can]",
        ),
    ] = None,
    resize: Annotated[
        str,
        typer.Option(
            "--resize",
            metavar="NAME",
            help="Where the model's own resize is: outside or inside.",
            rich_help_panel=help.WRITES,
        ),
    ] = "outside",
    file: Annotated[
        Path | None,
        typer.Option(
            "-o", metavar="FILE", help="The file. [default: in the run's export/]", rich_help_panel=help.WRITES
        ),
    ] = None,
    data: options.Data = None,
    verify: Annotated[
        int | None,
        typer.Option(
            "--verify",
            metavar="N",
            min=1,
            rich_help_panel=help.COMPUTES,
            help="Images that the file is checked on. [default: 4, 16 for --int8]",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            metavar="SHARE",
            min=0,
            max=1,
            rich_help_panel=help.COMPUTES,
            help="Share of labels that may differ from the model's. [default: 0.001, 0.005 for --fp16]",
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            metavar="POINTS",
            min=0,
            max=100,
            rich_help_panel=help.COMPUTES,
            help="Points of mIoU that --int8 may lose: the worst layers stay in float until it holds. [default: 1]",
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            rich_help_panel=help.COMPUTES,
            help="Fetch nothing: the environment for tflite and savedmodel is made of what uv has kept.",
        ),
    ] = False,
    triton: Annotated[
        Path | None,
        typer.Option(
            "--triton",
            metavar="DIR",
            rich_help_panel=help.WRITES,
            help="Lay the ONNX file out as a model in this repository of Triton, too.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write a file that takes uint8 images, and check it against the model."""
    _refuse_unknown("--layout", layout, ("nchw", "nhwc"))
    _refuse_unknown("--output", gives, ("logits", "probabilities", "labels"))
    _refuse_unknown("--resize", resize, ("outside", "inside"))
    if triton is not None and target != "onnx":
        raise UsageError(f"--triton is for onnx; Triton is not given {target} files here")
    only = options.parse_size(size)
    if fp16 and int8:
        raise UsageError("--fp16 and --int8: a file computes in one of them; give one")
    if max_drop is not None and not int8:
        raise UsageError("--max-drop is for --int8; other precisions are judged by --tolerance")
    path = options.find_model(model)
    with render.starting():
        from segcli.engine.export.export import Wanted, default_path, export_model
        from segcli.engine.export.targets import find_target
        from segcli.io.bundle import read_card
        from segcli.io.rundir import output_folder

    chosen = find_target(target)
    precision = "fp16" if fp16 else "int8" if int8 else "fp32"
    wanted = Wanted(
        precision, layout, gives, (only, only) if isinstance(only, int) else only, resize == "inside", verify,
        tolerance, options.find_dataset(data) if data else None, offline, 1.0 if max_drop is None else max_drop,
    )  # fmt: skip
    goal = file or default_path(chosen, output_folder(path, "export"), precision)
    with render.progress() as progress:
        result = export_model(chosen, path, goal, wanted, progress)
    if triton is not None:
        from segcli.engine.export.triton import write_repository

        name = path.parent.name if path.name in {"best", "last"} else path.stem
        render.files([write_repository(result.path, triton, name)])
    if as_json:
        render.as_json(result.to_json())
    else:
        if "int8" in result.facts:
            render.quantised_table(result.facts["int8"])
        render.parity_table(result)
        render.files([result.report, result.path])
    shown = render.command_path(result.path)
    steps = [f"seg eval -m {shown}", f"seg predict -m {shown} {options.images_to_try(read_card(path))}"]
    if chosen.name == "savedmodel":
        from segcli.engine.export.savedmodel import docker_command

        steps.append(docker_command(result.path))
    render.next_steps(*steps)


def _refuse_unknown(option: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UsageError(f"{option} {value}: expected {', '.join(known[:-1])} or {known[-1]}")
