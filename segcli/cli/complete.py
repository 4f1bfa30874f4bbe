"""What the shell completes: names from lists and folders, with nothing heavy imported."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_origin

from segcli.cli import choices, recipes


def models(incomplete: str) -> list[str]:
    """The runs that hold a model, by name or below `runs/` as it was begun."""
    found = sorted(path.parents[1].name for path in Path("runs").glob("*/best/segcli.json"))
    return [f"runs/{name}" for name in found] if incomplete.startswith("runs/") else found


def runs(incomplete: str) -> list[str]:
    """The runs."""
    found = sorted(path.parent.name for path in Path("runs").glob("*/config.yml"))
    return [f"runs/{name}" for name in found] if incomplete.startswith("runs/") else found


def datasets(incomplete: str) -> list[str]:
    """The prepared datasets below `data/`."""
    return sorted(path.parent.as_posix() for path in Path("data").glob("*/dataset.yml"))


def layouts(incomplete: str) -> list[str]:
    """The layouts."""
    return [*choices.LAYOUTS]


def recipe_names(incomplete: str) -> list[str]:
    """The recipes."""
    return recipes.names()


def splits(incomplete: str) -> list[str]:
    """The splits."""
    return [*choices.SPLITS]


def split_files(incomplete: str) -> list[str]:
    """The beginnings of `--split-file`."""
    return [f"{split}=" for split in choices.SPLITS]


def targets(incomplete: str) -> list[str]:
    """The targets of an export."""
    return [*choices.TARGETS]


def domains(incomplete: str) -> list[str]:
    """What images may be of."""
    return [*choices.DOMAINS]


def variants(incomplete: str) -> list[str]:
    """The variants of layouts."""
    return [*choices.VARIANTS]


def devices(incomplete: str) -> list[str]:
    """The devices."""
    return [*choices.DEVICES]


def precisions(incomplete: str) -> list[str]:
    """The number formats."""
    return [*choices.PRECISIONS]


def policies(incomplete: str) -> list[str]:
    """The test-time augmentation policies."""
    return [*choices.POLICIES]


def kinds(incomplete: str) -> list[str]:
    """What `seg list` lists."""
    return [*choices.KINDS]


def keys(incomplete: str) -> list[str]:
    """The keys of a config that hold a value, as `--set` takes them.

    The only one that is left comes with its default too, since shells put a blank behind what is complete, and one
    behind `=` is in the way.
    """
    from segcli.config import RunConfig

    left: dict[str, str] = {}
    for key, value in _keys_below(RunConfig, ""):
        if key.startswith(incomplete):
            left.setdefault(key, value)
    return [*sorted(left), *(key + value for key, value in left.items() if len(left) == 1)]


def _keys_below(section: type, prefix: str) -> Iterator[tuple[str, str]]:
    """The keys below a section, each with its default."""
    from segcli.components.section import Section, sections_in

    assert issubclass(section, Section)
    for name, field in section.model_fields.items():
        inner = sections_in(field.annotation)
        if len(inner) != 1:  # a value, or the name of one of several sections
            default = field.get_default(call_default_factory=True)
            yield f"{prefix}{name}=", _typed(getattr(default, "name", default))
        if get_origin(field.annotation) is not tuple:
            for part in inner:
                yield from _keys_below(part, f"{prefix}{name}.")


def _typed(value: object) -> str:
    """A value as one types it; a word for those that take more than one, or must be given."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float | None):
        return json.dumps(value)
    return "VALUE"
