"""The recipes: configs that travel with the package; in a checkout they lie in `configs/`."""

import json
import re
from itertools import count
from pathlib import Path

from segcli.cli.render import command_path
from segcli.errors import UsageError, did_you_mean

_PACKAGE = Path(__file__).parents[1]
_ROOT = re.compile(r"(?m)^dataset: \{root: [^}]*\}")


def folder() -> Path:
    """The folder of the recipes: inside an installed package, else in the checkout."""
    installed = _PACKAGE / "recipes"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def names() -> list[str]:
    """The names of the recipes."""
    return sorted(path.stem for path in folder().glob("*.yml"))


def summary(name: str) -> str:
    """What a recipe is for: its first line."""
    return _read(name).partition("\n")[0].removeprefix("# ")


def text(name: str, data: Path | None = None) -> str:
    """A recipe as YAML.

    Args:
        name: of the recipe.
        data: the prepared dataset that it is for, instead of its own.

    Raises:
        UsageError: if there is none of that name, or it takes no prepared dataset.
    """
    if name not in names():
        raise UsageError(f"unknown recipe {name!r}; {did_you_mean(name, names())}")
    if data is None:
        return _read(name)
    if not _ROOT.search(_read(name)):
        raise UsageError(f"--data {data}: recipe {name} is for no prepared dataset; take folder")
    return _ROOT.sub(lambda _: _rooted(data), _read(name))


def how_to_train(layout: str, data: Path) -> list[str]:
    """The commands that train on a prepared dataset by the recipe of its layout, which is written if it is not here.

    Args:
        layout: of the dataset; the recipe for folders serves one without a recipe of its own.
        data: the prepared dataset.
    """
    name = layout if layout in names() and _ROOT.search(_read(layout)) else "folder"
    here = Path("configs") / f"{name}.yml"
    if here.is_file() and data == Path("data") / name:
        return [f"seg train -c {here.as_posix()}"]
    for number in count(1):
        config = Path(f"{data.name}.yml" if number == 1 else f"{data.name}-{number}.yml")
        train = f"seg train -c {command_path(config)}"
        if not config.exists():
            return [f"seg config recipe {name} --data {command_path(data)} -o {command_path(config)}", train]
        if _rooted(data) in config.read_text(encoding="utf-8", errors="replace"):
            return [train]
    raise AssertionError


def _rooted(data: Path) -> str:
    path = data.as_posix()
    return f"dataset: {{root: {path if re.fullmatch('[A-Za-z][-A-Za-z0-9_./]*', path) else json.dumps(path)}}}"


def example(command: str) -> str:
    """What to type where a command was given no config: one that is here, else how to write one."""
    here = [path for pattern in ("*.yml", "*.yaml", "configs/*.yml") for path in sorted(Path().glob(pattern))]
    if here:
        return f"try: {command} -c {command_path(here[0])}"
    return "try: seg config recipe quickstart -o quickstart.yml"


def find_config(path: Path) -> Path:
    """The config of a path, if it is there.

    Raises:
        UsageError: if it is not; with the recipe of its name, or a file that is called alike.
    """
    if path.exists():
        return path
    if path.stem in names() and path.suffix in {"", ".yml", ".yaml"}:
        target = path if path.suffix else path.with_suffix(".yml")
        raise UsageError(f"{path}: no such file; try: seg config recipe {path.stem} -o {command_path(target)}")
    there = [str(other) for other in path.parent.glob("*") if other.suffix in {".yml", ".yaml"}]
    raise UsageError(f"{path}: no such file" + (f"; {did_you_mean(str(path), there)}" if there else ""))


def _read(name: str) -> str:
    return (folder() / f"{name}.yml").read_text(encoding="utf-8")
