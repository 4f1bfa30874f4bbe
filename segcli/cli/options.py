"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segcli.cli import choices, complete, help, recipes
from segcli.errors import UsageError, did_you_mean, nearest
from segcli.task import check_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from segcli.datasets.dataset import Dataset
    from segcli.engine.backends.exported import Stranger
    from segcli.engine.prediction.predictor import Predictor
    from segcli.io.card import ModelCard
    from segcli.parallel import Progress

_MEANT = {
    "gpu": "cuda", "nvidia": "cuda", "validation": "val", "valid": "val", "training": "train", "testing": "test",
    "half": "fp16", "float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "float": "fp32",
}  # fmt: skip
"""What people write for some of the names."""


def one_of(what: str, known: "Sequence[str]") -> "Callable[[str | None], str | None]":
    """A callback that refuses what is none of some names, before anything is read."""

    def check(value: str | None) -> str | None:
        if value is None or value in known:
            return value
        meant = _MEANT.get(value.lower())
        hint = f"did you mean {meant}?" if meant in known else did_you_mean(value, known)
        raise UsageError(f"unknown {what} {value!r}; {hint}")

    return check


Model = Annotated[
    Path | None,
    typer.Option(
        "--model", "-m", metavar="MODEL", rich_help_panel=help.READS, autocompletion=complete.models,
        help="A run, a bundle or an exported file. [default: the newest run's best]",
    ),
]  # fmt: skip
Bundle = Annotated[
    Path | None,
    typer.Option(
        "--model", "-m", metavar="RUN|BUNDLE", rich_help_panel=help.READS, autocompletion=complete.models,
        help="A run or a bundle. [default: the newest run's best]",
    ),
]  # fmt: skip
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", "-d", metavar="DATASET", rich_help_panel=help.READS, autocompletion=complete.datasets,
        help="A prepared dataset, or a folder with images/ and masks/. [default: the model's own]",
    ),
]  # fmt: skip
Split = Annotated[
    str,
    typer.Option(
        "--split", metavar="NAME", rich_help_panel=help.READS, autocompletion=complete.splits,
        callback=one_of("split", choices.SPLITS),
        help="The split: train, val or test.",
    ),
]  # fmt: skip
Json = Annotated[
    bool, typer.Option("--json", rich_help_panel=help.WRITES, help="Print one JSON object instead of a table.")
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        rich_help_panel=help.WRITES,
        help="Where to write. [default: in the model's run]",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="NAME", rich_help_panel=help.COMPUTES, autocompletion=complete.devices,
        callback=one_of("device", choices.DEVICES),
        help="auto, cpu, cuda or mps.",
    ),
]  # fmt: skip
Precision = Annotated[
    str,
    typer.Option(
        "--precision", metavar="FORMAT", rich_help_panel=help.COMPUTES, autocompletion=complete.precisions,
        callback=one_of("number format", choices.PRECISIONS),
        help="auto (the model's own, where the device has it), fp32, bf16 or fp16.",
    ),
]  # fmt: skip
Tta = Annotated[
    bool,
    typer.Option(
        "--tta", rich_help_panel=help.COMPUTES, help="Average over views of each image (the model's policy, else flip)."
    ),
]
TtaPolicy = Annotated[
    str | None,
    typer.Option(
        "--tta-policy", metavar="NAME", rich_help_panel=help.COMPUTES, autocompletion=complete.policies,
        help="none, flip, scales, scales-flip, d4, or a sum of views such as 1+flip+0.75.",
    ),
]  # fmt: skip
Size = Annotated[
    str | None,
    typer.Option(
        "--size", metavar="N|HxW", rich_help_panel=help.COMPUTES,
        help="Short side, or the size to fit in, instead of the model's own.",
    ),
]  # fmt: skip
Config = Annotated[
    Path | None, typer.Argument(metavar="CONFIG", rich_help_panel=help.READS, help="The YAML file, also behind -c.")
]
NamedConfig = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", rich_help_panel=help.READS, help="The YAML file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", rich_help_panel=help.READS, autocompletion=complete.keys,
        help="Override a value of the config, as in --set train.epochs=3; may be repeated.",
    ),
]  # fmt: skip


def find_config(config: Path | None, named: Path | None, command: str) -> Path:
    """The config that a command is given as an argument or by -c; there must be one, and it must be there."""
    if config is not None and named is not None:
        raise UsageError(f"{config} and -c {named} are two configs; give one")
    given = named or config
    if given is None:
        raise UsageError(f"no config is given (CONFIG, or -c CONFIG); {recipes.example(command)}")
    return recipes.find_config(given)


Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        metavar="A,B,…",
        rich_help_panel=help.READS,
        help="Of an ONNX file that seg did not write: its classes, in order.",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        metavar="R,G,B",
        rich_help_panel=help.READS,
        help="The mean that such a file's images are normalised by, of 0 … 1.",
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        "--std", metavar="R,G,B", rich_help_panel=help.READS, help="The standard deviation that they are normalised by."
    ),
]


def find_model(given: Path | None) -> Path:
    """The model that -m means; says which where it was not given."""
    from segcli.cli import render
    from segcli.io import rundir

    model = rundir.find_model(given)
    if given is None:
        render.note(f"model: {model}")
    return model


def load_soon(
    model: Path,
    device: str = "auto",
    precision: str = "auto",
    tta: bool = False,
    policy: str | None = None,
    size: str | None = None,
    stranger: "Stranger | None" = None,
) -> "Callable[[], Predictor]":
    """Begins to load the predictor that the options describe, if it is an ONNX file; what it gives waits for it.

    ONNX Runtime opens a file beside what a command still has to import. Others are loaded when they are waited for.
    """
    sides = parse_size(size)

    from segcli.engine.prediction.load import load_predictor
    from segcli.engine.prediction.tta import DEFAULT, find_policy, with_policy
    from segcli.io.formats import by_name, format_of
    from segcli.parallel import silent

    wanted = find_policy(policy) if policy else None

    def described(progress: "Progress") -> "Predictor":
        predictor = load_predictor(model, device, sides, precision, stranger, progress)
        chosen = find_policy(predictor.card.tta or DEFAULT) if wanted is None and tta else wanted
        return with_policy(predictor, chosen) if chosen else predictor

    if format_of(model) == by_name("onnx"):
        return _beside(lambda: described(silent))
    return lambda: _shown(described)


def _beside(work: "Callable[[], Predictor]") -> "Callable[[], Predictor]":
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(1, "loading")
    found = pool.submit(work)
    pool.shutdown(wait=False)
    return found.result


def _shown(work: "Callable[[Progress], Predictor]") -> "Predictor":
    from segcli.cli import render

    with render.progress() as progress, render.gc_paused():
        return work(progress)


def parse_stranger(classes: str | None, mean: str | None, std: str | None) -> "Stranger | None":
    """What the options say of an ONNX file that seg did not write; None where they say nothing."""
    if classes is None:
        if mean or std:
            raise UsageError("--mean and --std tell of an ONNX file that seg did not write; give its --classes too")
        return None
    from segcli.engine.backends.exported import Stranger

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


def find_dataset(given: Path) -> Path:
    """The dataset of a path, if it is there; raises UsageError with what was likely meant."""
    if given.exists():
        return given
    below = {Path(path).name: path for path in complete.datasets("")}
    if given.name in below:
        raise UsageError(f"{given}: no such folder; did you mean {below[given.name]}?")
    if str(given) in choices.LAYOUTS:
        raise UsageError(f"{given}: no such folder, but a layout; try: seg dataset prepare {given}")
    here = {path.name: path.name for path in Path().iterdir() if path.is_dir() and not path.name.startswith(".")}
    known = {**below, **here} if given.parent == Path() else below
    name = nearest(given.name, known)
    raise UsageError(f"{given}: no such folder" + (f"; did you mean {known[name]}?" if name else ""))


def images_to_try(card: "ModelCard") -> str:
    """Images for `seg predict`, as one types them: those that the model was validated on, if they lie in a folder."""
    from segcli.cli import render

    section = card.data.get("dataset", {})
    prepared = section.get("root")
    folder = Path(prepared) / "images" / "val" if prepared else section.get("val_images_dir")
    return render.command_path(Path(folder)) if folder and Path(folder).is_dir() else "IMAGES"


def open_data(given: Path | None, card: "ModelCard", progress: "Progress") -> "Dataset":
    """The dataset that -d means, else the one the model was trained on; its classes are the model's."""
    from segcli.cli import render
    from segcli.datasets.open import open_for_model

    dataset = open_for_model(card, find_dataset(given) if given else None, progress)
    for remark in dataset.remarks:
        render.note(f"note: {remark}")
    return dataset
