"""The base of every part of the config, and the choice between parts by name."""

import ast
import inspect
import re
import textwrap
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Union

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field
from pydantic_core import PydanticCustomError

from segcli.duration import parse_duration
from segcli.errors import did_you_mean


def _in_seconds(given: Any) -> Any:
    return parse_duration(given) if isinstance(given, str) else given


Duration = Annotated[float, Field(gt=0), BeforeValidator(_in_seconds, json_schema_input_type=float | str)]
"""Seconds, or a time such as 30m."""


class Section(BaseModel):
    """A frozen mapping of the config that takes no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, validate_default=True)
    aliases: ClassVar[tuple[str, ...]] = ()


def field_docs(section: type[Section]) -> dict[str, str]:
    """What stands in the source below each field of a section, inherited fields included.

    Pydantic can read it itself, but would do so at every start of the program.
    """
    docs: dict[str, str] = {}
    for owner in reversed([base for base in section.__mro__ if issubclass(base, Section) and base is not Section]):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(body, ast.ClassDef)
        for field, below in pairwise(body.body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(field.target, ast.Name):
                docs[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return docs


def sections_in(annotation: Any) -> list[type[Section]]:
    """The section classes inside a type: itself, or the members of a union or a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    arguments = (*getattr(annotation, "__args__", ()),)
    return [section for argument in arguments for section in sections_in(argument)]


def choice(kind: str, *sections: type[Section]) -> Any:
    """The type of a field that takes one of several sections by their `name`.

    A name may be spelt as people spell it (`OneCycleLR`, `cross-entropy`), may stand alone instead of a
    mapping, and may be left out: then the first section serves.
    """
    known = {_plain(alias): _name(section) for section in sections for alias in (_name(section), *section.aliases)}

    def by_name(value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict):
            return value
        name = value.get("name", _name(sections[0]))
        canonical = known.get(_plain(str(name)))
        if canonical is None:
            hint = did_you_mean(str(name), known.values())
            raise PydanticCustomError("unknown_name", "{text}", {"text": f"unknown {kind} {name!r}; {hint}"})
        return {**value, "name": canonical}

    union = Union[sections] if len(sections) > 1 else sections[0]  # noqa: UP007
    if len(sections) == 1:
        return Annotated[union, BeforeValidator(by_name)]
    return Annotated[union, Discriminator("name"), BeforeValidator(by_name)]


def _name(section: type[Section]) -> str:
    return str(section.model_fields["name"].default)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", name.lower())
