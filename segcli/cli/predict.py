"""seg predict: masks and overlays of images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli import help, options, render
from segcli.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from segcli.engine.prediction.predict import Predicted


EXAMPLES = help.examples(
    "seg predict images/  # with the newest model, to its run's predictions/",
    "seg predict --tta photo.jpg -o out",
    "seg predict images/ -m model.onnx --save masks",
)


def predict(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE…", rich_help_panel=help.READS, help="Images, or folders of images."),
    ],
    model: options.Model = None,
    tta: options.Tta = False,
    tta_policy: options.TtaPolicy = None,
    save: Annotated[
        str,
        typer.Option("--save", metavar="A,B", rich_help_panel=help.WRITES, help="What to write: masks, overlays."),
    ] = "masks,overlays",
    output: options.Output = None,
    size: options.Size = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    classes: options.Classes = None,
    mean: options.Mean = None,
    std: options.Std = None,
) -> None:
    """Predict images: index masks with a palette, and overlays."""
    from segcli.engine.prediction.predict import predict_files
    from segcli.engine.prediction.sinks import PRODUCTS
    from segcli.engine.prediction.sources import find_sources

    products = save.split(",")
    for product in products:
        if product not in PRODUCTS:
            raise UsageError(f"--save {save}: unknown product {product!r}; {did_you_mean(product, PRODUCTS)}")
    images = find_sources(sources)
    path = options.find_model(model)
    predictor = options.load(path, device, precision, tta, tta_policy, size, options.parse_stranger(classes, mean, std))
    folder = output or _default_output(path)
    done: list[Predicted] = []
    failed: list[DataError] = []
    with render.progress() as progress:
        for number, result in enumerate(predict_files(predictor, images, folder, products), 1):
            if isinstance(result, DataError):
                failed.append(result)
            else:
                done.append(result)
            progress("predicting", number, len(images))
    if done:
        render.shares_table([(item.source, item.shares) for item in done], predictor.card.task)
        render.files([folder / product for product in products])
    if failed:
        raise DataError("\n".join(map(str, failed)))


def _default_output(model: Path) -> Path:
    from segcli.io.rundir import output_folder

    return output_folder(model, "predictions")
