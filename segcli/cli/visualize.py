"""seg visualize: pictures of what a model, or its training, sees."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segcli.cli import help, options, render
from segcli.errors import DataError, UsageError

if TYPE_CHECKING:
    from segcli.engine.drawing.kinds.base import Kind
    from segcli.engine.prediction.pictures import Drawn
    from segcli.engine.prediction.predictor import Predictor

EXAMPLES = help.examples(
    "seg visualize  # image, truth, prediction and errors, from all over the val split",
    "seg visualize --overlay --worst --limit 40  # where the model does worst",
    "seg visualize --contours images/  # images without masks",
    "seg visualize --overlay --video drive.mp4  # a video of overlays",
    "seg visualize --augmented  # what the newest run was trained on",
)

PICTURES = ("overlay", "panel", "contours", "errors", "confidence", "augmented")
"""The options that say what is drawn; a test holds them against the kinds that there are."""

_OF_A_DATASET = ("data", "split", "limit", "worst")
_OF_TRAINING = ("model", "augmented", "limit", "output")


def _picture(name: str, meaning: str) -> Any:
    return typer.Option(f"--{name}", rich_help_panel=help.WRITES, help=meaning)


def visualize(
    ctx: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE…",
            rich_help_panel=help.READS,
            help="Images, folders and whatever else `seg predict` reads, all of it drawn. [default: the val split]",
        ),
    ] = None,
    model: options.Model = None,
    overlay: Annotated[bool, _picture("overlay", "Blend the mask over the image.")] = False,
    panel: Annotated[bool, _picture("panel", "Image, truth, prediction and errors side by side; the default.")] = False,
    contours: Annotated[bool, _picture("contours", "Outlines of the prediction, over those of the truth.")] = False,
    errors: Annotated[bool, _picture("errors", "Where the prediction is wrong.")] = False,
    confidence: Annotated[bool, _picture("confidence", "How probable the predicted class is.")] = False,
    augmented: Annotated[
        bool, _picture("augmented", "What training sees: crops of the run's own config, above their masks.")
    ] = False,
    video: Annotated[
        bool, _picture("video", "Write the pictures of a video's frames (or of other images) as a video.")
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
    """Draw predictions, or what training sees; several pictures come on a contact sheet too."""
    name = _asked_for(ctx)
    if sources:
        _refuse(ctx, _OF_A_DATASET, "chooses from a dataset, and all of SOURCE is drawn; leave one of them out")
    from segcli.io.rundir import output_folder

    if name == "augmented":
        others = [str(key) for key in ctx.params if key not in _OF_TRAINING]
        _refuse(ctx, others, "has no meaning for --augmented, which draws the crops of the run's own config")
        path = options.find_model(model)
        with render.starting():
            from segcli.engine.training.augmented import draw_augmented

        folder = output or output_folder(path, "visualize")
        with render.progress() as progress:
            picture = draw_augmented(path, limit, folder / "augmented.png", progress)
        render.files([picture])
        return
    with render.starting():
        from segcli.engine.drawing.kinds import KINDS
        from segcli.engine.prediction.pictures import require_masks

    kind = next(kind for kind in KINDS if kind.name == name)
    if sources:
        require_masks(kind, "SOURCE")
    path = options.find_model(model)
    stranger = options.parse_stranger(classes, mean, std)
    predictor = options.load_soon(path, device, precision, size=size, stranger=stranger)()
    folder = output or output_folder(path, "visualize")
    if sources:
        drawn = _draw_sources(predictor, kind, sources, folder, video)
    else:
        drawn = _draw_split(predictor, kind, data, split, limit, worst, folder, video)
    render.files(drawn.files)
    if drawn.failed:
        raise DataError("\n".join(drawn.failed))


def _draw_sources(predictor: "Predictor", kind: "Kind", sources: list[str], folder: Path, video: bool) -> "Drawn":
    import sys

    from segcli.engine.prediction.pictures import draw, film, of_items
    from segcli.engine.prediction.sources import Reading, count_sources, open_sources

    reading = Reading(lines=sys.stdin)
    total = count_sources(sources, reading) or 0
    with render.progress() as progress:
        write = film if video else draw
        return write(predictor, kind, of_items(open_sources(sources, reading)), folder, progress, total)


def _draw_split(
    predictor: "Predictor",
    kind: "Kind",
    data: Path | None,
    split: str,
    limit: int,
    worst: bool,
    folder: Path,
    video: bool,
) -> "Drawn":
    from segcli.engine.evaluation.worst import worst_samples
    from segcli.engine.prediction.pictures import draw, evenly, film, has_masks, of_samples, require_masks

    with render.progress() as progress:
        dataset = options.open_data(data, predictor.card, progress)
        samples, masks = dataset.split(split), has_masks(dataset, split)
        if not masks:
            require_masks(kind, f"the {split} split of {dataset.name}")
        if worst and not masks:
            raise UsageError(f"--worst needs masks, and the {split} split of {dataset.name} has none; leave it out")
        chosen = worst_samples(predictor, samples, limit, progress) if worst else evenly(samples, limit)
        write = film if video else draw
        return write(predictor, kind, of_samples(chosen, masks), folder, progress, len(chosen))


def _asked_for(ctx: typer.Context) -> str:
    """The one kind of picture that the options name; the panel where they name none."""
    asked = [name for name in PICTURES if ctx.params[name]]
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} are two kinds of pictures; give one")
    return asked[0] if asked else "panel"


def _refuse(ctx: typer.Context, names: Any, why: str) -> None:
    """Raises UsageError for the first of some parameters that the user gave."""
    for name in names:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"{'SOURCE' if name == 'sources' else f'--{name}'} {why}")
