"""seg bench: what models cost and give on this machine."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segcli.cli import help, options, render
from segcli.errors import ModelError, SegError, UsageError

if TYPE_CHECKING:
    from segcli.engine.export.bench import Measured, Plan

EXAMPLES = help.examples(
    "seg bench  # the newest run's best, and what was exported of it",
    "seg bench -m runs/voc -m runs/voc/export/model.onnx -d data/voc  # with mIoU, and a picture of both",
    "seg bench -m model.onnx --batch 1,2,4,8 --threads 1,2,4",
)


def bench(
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model", "-m", metavar="MODEL",
            help="A run, a bundle or an exported file; may be given again. "
            "[default: the newest run's best, and what was exported of it]",
            rich_help_panel=help.READS,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", "-d", metavar="DATASET", help="Measure the mIoU as well, on this dataset.",
            rich_help_panel=help.READS,
        ),
    ] = None,
    split: options.Split = "val",
    batch: Annotated[
        str, typer.Option("--batch", metavar="N,…", help="Images at a time.", rich_help_panel=help.COMPUTES)
    ] = "1,4",
    threads: Annotated[
        str | None,
        typer.Option(
            "--threads", metavar="N,…", help="Threads, each on a core of its own. [default: one a core]",
            rich_help_panel=help.COMPUTES,
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            "--image-size", metavar="HxW", help="Of the images. [default: the data's first, else 512x512]",
            rich_help_panel=help.COMPUTES,
        ),
    ] = None,
    warm_up: Annotated[
        int,
        typer.Option(
            "--warm-up", metavar="N", min=0, help="Predictions before those that count.", rich_help_panel=help.COMPUTES
        ),
    ] = 3,
    repeats: Annotated[
        int,
        typer.Option(
            "--repeats", metavar="N", min=2, help="Predictions that count.", rich_help_panel=help.COMPUTES
        ),
    ] = 20,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="For bench.json and bench.png. [default: bench/ in the model's run]",
            rich_help_panel=help.WRITES,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Measure models side by side: load time, latency, images a second, memory, size, and mIoU where data is given.

    --device and --precision are for bundles; a file computes as it was exported.
    """
    with render.starting():
        from segcli.engine.export.bench import Measured, Plan
        from segcli.engine.export.bench import bench as measure
        from segcli.io.rundir import output_folder
    from segcli.parallel import available_cores

    plan = Plan(
        _positive(batch, "--batch"), _positive(threads or str(available_cores()), "--threads"), warm_up, repeats,
        _height_and_width(image_size), options.find_dataset(data) if data else None, split, device, precision,
    )  # fmt: skip
    candidates = _candidates(models)
    folder = output or output_folder(candidates[0], "bench")
    with render.progress() as progress:
        results = list(measure(candidates, plan, progress))
    found = [result for result in results if isinstance(result, Measured)]
    if found:
        _show(found, plan, folder, as_json)
    failed = [result for result in results if isinstance(result, SegError)]
    if failed:
        raise SegError("\n".join(map(str, failed)))


def _candidates(given: list[Path] | None) -> list[Path]:
    from segcli.io import rundir

    if given:
        return [rundir.find_model(model) for model in given]
    bundle = options.find_model(None)
    exported = []
    for path in sorted(rundir.output_folder(bundle, "export").glob("*")):
        try:
            exported.append(rundir.find_model(path))
        except ModelError:  # what lies beside an exported file
            continue
    return [bundle, *exported]


def _show(found: "list[Measured]", plan: "Plan", folder: Path, as_json: bool) -> None:
    import json

    from segcli.cli import render_bench
    from segcli.engine.export.bench import machine
    from segcli.io.files import write_text

    facts = machine()
    values: dict[str, Any] = {
        "machine": facts, "warm_up": plan.warm_up, "repeats": plan.repeats,
        "models": [measured.to_json() for measured in found],
    }  # fmt: skip
    written = [folder / "bench.json"]
    write_text(written[0], json.dumps(values, indent=2) + "\n")
    if plan.data is not None and find_spec("matplotlib") is None:
        render.note("note: the picture needs matplotlib, which is not installed")
    elif plan.data is not None:
        written.append(folder / "bench.png")
        _draw(found, plan.data, facts["processor"], written[1])
    if as_json:
        render.as_json(values)
        return
    render_bench.models_table(found, facts)
    render_bench.speed_table(found, plan)
    render.files(written)


def _draw(found: "list[Measured]", data: Path, processor: str, path: Path) -> None:
    from segcli.cli.render_bench import short_names
    from segcli.engine.drawing.trade_off import Point, draw_trade_off

    judged = [measured for measured in found if measured.miou is not None]
    names = short_names([measured.model for measured in judged])
    points = []
    for name, measured in zip(names, judged, strict=True):
        timing, miou = measured.timings[0], measured.miou
        if miou is not None:
            each = [timing.latency(percent) / timing.batch for percent in (50, 25, 75)]
            points.append(Point(name, miou, each[0], (each[1], each[2]), measured.num_bytes))
    if points:
        height, width = judged[0].image_size
        threads = judged[0].threads
        setting = f"{width}×{height}, {threads} thread{'s' * (threads > 1)}, {processor}"
        draw_trade_off(points, f"mIoU on {data.name} against latency ({setting})", path)


def _positive(text: str, option: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"{option} {text}: expected numbers from 1, with commas between them")
    return tuple(map(int, parts))


def _height_and_width(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UsageError(f"--image-size {text}: expected HEIGHTxWIDTH, such as 360x480")
    return int(height), int(width)
