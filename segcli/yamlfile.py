"""YAML as people mean it: 1e-3 is a number, only true and false are booleans, every value knows its line."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segcli.errors import ConfigError

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlFile:
    """A parsed file.

    Attributes:
        path: where it was read.
        values: the mapping at its top.
        lines: the line (from 1) of each key path; that of a mapping's entry is the line of its key.
    """

    path: Path
    values: dict[str, Any]
    lines: dict[Keys, int] = field(default_factory=dict)

    def where(self, keys: Keys) -> str:
        """`file:line` of a key path, or of the nearest one above it that the file holds."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return f"{self.path}:{self.lines[keys]}" if keys else str(self.path)


class _Loader(yaml.SafeLoader):
    """Resolves scalars as YAML 1.2's core schema does and refuses duplicate keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise _DuplicateKey(f"{key!r} stands twice, here and on line {seen[key]}; keep one", line)
            seen[key] = line
        return super().construct_mapping(node, deep=True)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|nan))$"),
    list("-+.0123456789"),
)
# The base class reads 010 as octal; a leading zero is no octal here.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(str(node.value)))


class _DuplicateKey(Exception):
    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def read_yaml(path: Path) -> YamlFile:
    """Reads a file whose top is a mapping.

    Raises:
        ConfigError: if it is missing, no text, no YAML, holds a key twice or is no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text: {error}") from None
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        values = loader.construct_document(node) if node is not None else {}
    except _DuplicateKey as error:
        raise ConfigError(f"{path}:{error.line}: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, TypeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, found a {type(values).__name__}")
    return YamlFile(path, values, dict(_lines(node)) if node is not None else {})


def parse_value(text: str) -> Any:
    """Reads one YAML value, as after `--set key=`.

    Raises:
        ConfigError: if the text is not valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, _DuplicateKey, TypeError) as error:
        raise ConfigError(f"{text!r} is not a valid YAML value: {error}") from None


def dump_yaml(values: dict[str, Any]) -> str:
    """Writes a mapping in the order of its keys, short lists on one line."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values under dotted names; an empty mapping leaves none."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads back as the same value: quotes what only one of the two takes for text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    means_text = isinstance(parse_value(text), str) if re.fullmatch(r"[-+.~\w]*", text) else True
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if means_text else "'")


_Dumper.add_representer(str, _represent_text)


def _lines(node: yaml.Node, keys: Keys = ()) -> Iterator[tuple[Keys, int]]:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            inner = (*keys, key_node.value)
            yield inner, key_node.start_mark.line + 1
            yield from _lines(value_node, inner)
    elif isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            yield (*keys, place), item.start_mark.line + 1
            yield from _lines(item, (*keys, place))
