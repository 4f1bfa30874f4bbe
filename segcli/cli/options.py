"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.errors import UsageError
from segcli.task import check_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segcli.datasets.dataset import Dataset
    from segcli.engine.backends.exported import Stranger
    from segcli.engine.prediction.predictor import Predictor
    from segcli.io.card import ModelCard
    from segcli.parallel import Progress

Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="A run, a bundle or an exported file. [default: the newest run's best]",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", "-d", metavar="DATASET",
        help="A prepared dataset, or a folder with images/ and masks/. [default: the model's own]",
    ),
]  # fmt: skip
Split = Annotated[str, typer.Option("--split", help="The split: train, val or test.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write. [default: in the model's run]")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Precision = Annotated[
    str, typer.Option("--precision", help="auto (the model's own, where the device has it), fp32, bf16 or fp16.")
]
Tta = Annotated[bool, typer.Option("--tta", help="Average over views of each image (the model's policy, else flip).")]
TtaPolicy = Annotated[
    str | None, typer.Option("--tta-policy", metavar="NAME", help="none, flip, scales, scales-flip or d4.")
]
Size = Annotated[
    str | None,
    typer.Option("--size", metavar="N|HxW", help="Short side, or the size to fit in, instead of the model's own."),
]
Classes = Annotated[
    str | None,
    typer.Option("--classes", metavar="A,B,…", help="Of an ONNX file that seg did not write: its classes, in order."),
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", metavar="R,G,B", help="The mean that such a file's images are normalised by, of 0 … 1."),
]
Std = Annotated[
    str | None, typer.Option("--std", metavar="R,G,B", help="The standard deviation that they are normalised by.")
]


def find_model(given: Path | None) -> Path:
    """The model that -m means; says which where it was not given."""
    from segcli.cli import render
    from segcli.io import rundir

    model = rundir.find_model(given)
    if given is None:
        render.note(f"model: {model}")
    return model


def load(
    model: Path,
    device: str = "auto",
    precision: str = "auto",
    tta: bool = False,
    policy: str | None = None,
    size: str | None = None,
    stranger: "Stranger | None" = None,
) -> "Predictor":
    """Loads the predictor that the options describe."""
    from segcli.cli import render
    from segcli.engine.prediction.load import load_predictor
    from segcli.engine.prediction.tta import DEFAULT, find_policy, with_policy

    wanted = find_policy(policy) if policy else None
    if device not in {"auto", "cpu", "cuda", "mps"}:
        raise UsageError(f"--device {device}: expected auto, cpu, cuda or mps")
    if precision not in {"auto", "fp32", "bf16", "fp16"}:
        raise UsageError(f"--precision {precision}: expected auto, fp32, bf16 or fp16")
    with render.progress() as progress:
        predictor = load_predictor(model, device, parse_size(size), precision, stranger, progress)
    if wanted is None and tta:
        wanted = find_policy(predictor.card.tta or DEFAULT)
    return with_policy(predictor, wanted) if wanted else predictor


def parse_stranger(classes: str | None, mean: str | None, std: str | None) -> "Stranger | None":
    """What the options say of an ONNX file that seg did not write; None where they say nothing."""
    from segcli.engine.backends.exported import Stranger

    if classes is None:
        if mean or std:
            raise UsageError("--mean and --std tell of an ONNX file that seg did not write; give its --classes too")
        return None
    names = tuple(name.strip() for name in classes.split(","))
    try:
        check_classes(names)
    except ValueError as error:
        raise UsageError(f"--classes {classes}: {error}") from None
    return Stranger(names, _channels(mean, "--mean"), _channels(std, "--std"))


def _channels(text: str | None, option: str) -> tuple[float, float, float] | None:
    if text is None:
        return None
    values = numbers(text, option)
    if len(values) != 3:
        raise UsageError(f"{option} {text}: expected three numbers, of red, green and blue")
    return values[0], values[1], values[2]


def parse_size(text: str | None) -> int | tuple[int, int] | None:
    """Reads `N` or `HxW`."""
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise UsageError(f"--size {text}: expected a side such as 512, or HEIGHTxWIDTH such as 360x480")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def numbers(text: str, option: str) -> "Sequence[float]":
    """Reads `0.8,0.1,0.1`."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} {text}: expected numbers with commas between them") from None


def value_map(texts: "Sequence[str]") -> dict[int, int]:
    """Reads `255=1` items."""
    pairs = {}
    for text in texts:
        value, equals, index = text.partition("=")
        if not equals or not value.isdecimal() or not index.isdecimal():
            raise UsageError(f"--map {text}: expected the numbers VALUE=CLASS, as in --map 255=1")
        if max(int(value), int(index)) > 65535:
            raise UsageError(f"--map {text}: mask values and classes are 0 … 65535")
        pairs[int(value)] = int(index)
    return pairs


def open_data(given: Path | None, card: "ModelCard", progress: "Progress") -> "Dataset":
    """The dataset that -d means, else the one the model was trained on; its classes are the model's."""
    from segcli.cli import render
    from segcli.datasets.open import open_for_model

    dataset = open_for_model(card, given, progress)
    for remark in dataset.remarks:
        render.note(f"note: {remark}")
    return dataset
