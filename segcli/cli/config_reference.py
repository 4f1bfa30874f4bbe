"""The reference of the config file, made from the config's own sections."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

from pydantic.fields import FieldInfo

from segcli.components.section import Section, field_docs, sections_in
from segcli.config import RunConfig

_HEAD = """\
# The config file

One YAML file makes a run. Every key has a default except `dataset`; an unknown key is refused with a near one named.
`--set key.path=value` overrides any of them, `seg config show FILE` prints the file with all defaults filled in, `seg
config recipe NAME` one to start from, and `seg config schema` a JSON Schema for editors. Where a section has a
`name`, the name chooses one of several kinds, each with its own keys; `scheduler: cosine` is short for `scheduler:
{name: cosine}`.
"""


def config_reference() -> str:
    """Markdown with a table for the top level, for each section, and for each kind that a name chooses."""
    parts = [_HEAD, "## Top level\n", _table(RunConfig)]
    for name, field in RunConfig.model_fields.items():
        parts += _sections(name, field)
    return "\n".join(parts)


def _sections(key: str, field: FieldInfo) -> Iterator[str]:
    """The sections that may stand at a key, each followed by those inside it."""
    for section in sections_in(field.annotation):
        kind = _kind(section)
        yield f"## `{key}`\n" if kind is None else f"## `{key}: {kind}`\n"
        yield f"{cleandoc(section.__doc__ or '')}\n"
        yield _table(section)
        if kind is None:
            for name, inner in section.model_fields.items():
                yield from _sections(f"{key}.{name}", inner)


def _kind(section: type[Section]) -> str | None:
    """The name that chooses a section among several."""
    kind = section.model_fields["name"].default if "name" in section.model_fields else None
    return kind if isinstance(kind, str) else None


def _table(section: type[Section]) -> str:
    rows = ["| key | default | meaning |", "|---|---|---|", *_rows(section)]
    return "\n".join(rows) + "\n"


def _rows(section: type[Section]) -> Iterator[str]:
    docs = field_docs(section)
    for name, field in section.model_fields.items():
        if name != "name" or _kind(section) is None:
            meaning = docs[name].replace("|", "\\|")
            yield f"| `{name}` | {_default(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "–"
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        name = getattr(value, "name", None)
        return f"`{name}`" if name else "see below"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{'null' if value is None else str(value).lower() if isinstance(value, bool) else value}`"
