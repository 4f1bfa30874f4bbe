"""The options that say how a dataset is read, shared by the commands of `seg dataset`."""

import inspect
import shlex
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segcli.cli import choices, complete, help, options, render
from segcli.errors import UsageError

if TYPE_CHECKING:
    from segcli.datasets.layouts.base import Options

Layout = Annotated[
    str | None,
    typer.Option(
        "--layout", metavar="NAME", rich_help_panel=help.READS, autocompletion=complete.layouts,
        help="Which layout a folder or archive has. [default: told by what lies in it]",
    ),
]  # fmt: skip

_AUTO = "auto"


def with_reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command these options; its parameter `reading` gets them as one `Options`, `typed` as a command line."""

    @wraps(command)
    def wrapped(**values: Any) -> None:
        own = {name: value for name, value in values.items() if name in signature.parameters}
        others = {name: value for name, value in values.items() if name not in signature.parameters}
        with render.starting():  # what reads images is imported
            reading = _read(**own)
        command(**others, reading=reading, typed=_as_typed(own))

    signature = inspect.signature(_read)
    kept = [item for item in inspect.signature(command).parameters.values() if item.name not in {"reading", "typed"}]
    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in [*kept, *signature.parameters.values()]]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {item.name: item.annotation for item in parameters}
    return wrapped


_OPTIONS = {"value_map": "--map", "names": "--split-file"}


def _as_typed(values: Mapping[str, Any]) -> str:
    """The options that differ from their defaults, as one would type them."""
    words = []
    for name, parameter in inspect.signature(_read).parameters.items():
        value, option = values[name], _OPTIONS.get(name, f"--{name.replace('_', '-')}")
        if value != parameter.default:
            words += [word for part in (value if isinstance(value, list) else [value]) for word in (option, str(part))]
    return shlex.join(words)


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, **{"rich_help_panel": help.FOLDER, **settings})


def _read(
    images: Annotated[str, _option(metavar="NAME", help="Folder of images, below the dataset.")] = "images",
    masks: Annotated[
        str, _option(metavar="NAME", help="Folder of masks (or the annotation file), below the dataset.")
    ] = "masks",
    image_name: Annotated[str, _option(metavar="PATTERN", help="Stem of an image, such as '{name}_rgb'.")] = "{name}",
    mask_name: Annotated[str, _option(metavar="PATTERN", help="Stem of its mask, such as '{name}_mask'.")] = "{name}",
    palette: Annotated[
        str | None,
        _option(
            metavar="FILE|auto",
            help="Masks hold colours: a file with a line a class (`128 0 0 car`), or auto to find them.",
        ),
    ] = None,
    classes: Annotated[
        str | None, _option(metavar="A,B,…", help="Names of the classes, or their number. [default: counted]")
    ] = None,
    value_map: Annotated[
        list[str] | None,
        _option("--map", metavar="VALUE=CLASS", help="What a mask value means, as in --map 255=1; may be repeated."),
    ] = None,
    ignore_index: Annotated[
        int | None, _option(metavar="VALUE", min=0, max=65535, help="The mask value to ignore. [default: 255]")
    ] = None,
    ratios: Annotated[
        str | None,
        _option(metavar="A,B[,C]", help="Shares of train, val and maybe test, of their sum. [default: 0.8,0.2]"),
    ] = None,
    names: Annotated[
        list[str] | None,
        _option(
            "--split-file",
            metavar="SPLIT=FILE",
            autocompletion=complete.split_files,
            help="A file that lists the images of a split, as in --split-file val=val.txt; once for each split.",
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        _option(metavar="REGEX", help="Images whose names give the same match stay in one split: '^[^_]+'."),
    ] = None,
    seed: Annotated[int, _option(metavar="N", help="Seed by which images are dealt to the splits.")] = 0,
    variant: Annotated[
        str | None,
        _option(
            metavar="NAME",
            rich_help_panel=help.READS,
            autocompletion=complete.variants,
            help="voc: auto, standard or augmented; cityscapes: fine or coarse; coco_stuff: classes or "
            "supercategories; coco: instances or panoptic.",
        ),
    ] = None,
) -> "Options":
    from segcli.datasets.layouts.base import Options
    from segcli.datasets.layouts.palettes import read_palette

    if palette == _AUTO:
        colours: dict[str, tuple[int, int, int]] | None = {}
    else:
        colours = None if palette is None else read_palette(Path(palette))
    return Options(
        images, masks, image_name, mask_name, colours,
        options.numbers(ratios, "--ratios") if ratios else None,
        _split_files(names or []),
        group_by, seed, _classes(classes), ignore_index,
        options.value_map(value_map or []),
        variant,
    )  # fmt: skip


def _classes(text: str | None) -> list[str] | int | None:
    if text is None:
        return None
    if not text.isdecimal():
        return [name.strip() for name in text.split(",")]
    if int(text) < 2:
        raise UsageError(f"--classes {text}: at least 2 needed; background is a class too")
    return int(text)


def _split_files(texts: list[str]) -> dict[str, Path]:
    files = {}
    for text in texts:
        split, equals, file = text.partition("=")
        if not equals or split not in choices.SPLITS:
            raise UsageError(f"--split-file {text}: expected train=FILE, val=FILE or test=FILE")
        files[split] = Path(file)
    return files
