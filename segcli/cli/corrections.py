"""What a wrong command line should have been: errors of the parser in our words, and the right line to paste."""

import re
import shlex
from collections.abc import Mapping, Sequence
from copy import copy
from itertools import islice
from pathlib import Path
from typing import Any

import typer

from segcli.cli import help
from segcli.errors import SegError, UsageError, nearest

_OLD = {"--split": "--ratios", "--names": "--split-file"}  # of `seg dataset`
_HINT = re.compile(r"; did you mean (?P<right>[^\s?]+)\?")
_WORD = re.compile(r"'(?P<wrong>[^']+)'" + _HINT.pattern)
_MISSING = r"(?P<wrong>[^:\s][^:]*): no such (?:file or folder|file|folder|run in [^;]+)"
_FILE = re.compile(_MISSING + _HINT.pattern)
_LOOKED_AT = 5000  # entries of a folder; to compare more names takes too long
_NO_FILE = re.compile(rf"^(?P<before>.*: )?{_MISSING}(?=$|;|,| \()")
_KEY = re.compile(r"(?P<wrong>[\w.]+)(?:=[^:]*)?: unknown key" + _HINT.pattern)
_OF_KEY = re.compile(r"(?:^|: )(?P<key>[a-z_.]+): (?:unknown |[^:]+: no such )")


def of_parser(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """The parser's error in our words, with the line that was likely meant.

    Args:
        error: what the parser found.
        arguments: the command line behind `seg`.
    """
    ctx: Any = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    path = ctx.command_path if ctx is not None else "seg"
    if option is not None and hasattr(error, "possibilities"):
        return UsageError(_no_option(str(option), ctx, arguments))
    message = re.sub(r"^Invalid value for '?(.*?)'?: ", r"\1: ", error.format_message()).rstrip(".")
    message = re.sub(r"^(--\S+: )?([A-Z])", lambda found: (found[1] or "") + found[2].lower(), message)
    example = next(iter(help.examples_of(ctx.command)), None) if ctx is not None else None
    shown = f"; as in: {example.partition('#')[0].strip()}" if example and message.startswith("missing") else ""
    return UsageError(f"{path}: {message}{shown}")


def _no_option(option: str, ctx: Any, arguments: Sequence[str]) -> str:
    path = ctx.command_path
    if path.startswith("seg dataset ") and option in _OLD:
        right = _OLD[option]
        return f"{path}: {option} is called {right} now; try: {_line(_replaced(arguments, option, right))}"
    words, behind = path.split()[1:], [*arguments]
    later = next((word for word in arguments if word in getattr(ctx.command, "commands", {})), None)
    if later is not None:  # an option before the command that it belongs to
        for word in (*words, later):
            behind.remove(word)
        return f"{path}: {option} goes behind {later}; try: {_line([*words, later, *behind])}"
    known = [name for item in ctx.command.get_params(ctx) for name in item.opts if name.startswith("--")]
    meant = nearest(option, known)
    if meant is None:
        return f"{path} has no option {option}; `{path} --help` shows those that it has"
    return f"{path} has no option {option}; try: {_line(_replaced(arguments, option, meant))}"


def of_command(word: str, commands: Mapping[str, Any], arguments: Sequence[str], path: str) -> UsageError:
    """What to say of a word that is no command, though it may be one elsewhere.

    Args:
        word: that stands where a command should.
        commands: that there are.
        arguments: the command line behind `seg`.
        path: the command line as far as it is right, `seg` first.
    """
    before = path.split()[1:]
    rest = [*arguments[arguments.index(word, len(before)) + 1 :]]
    for name, group in commands.items():
        inner = getattr(group, "commands", {})
        if word in inner:  # its group was left out, or stands behind it
            behind = [other for place, other in enumerate(rest) if other != name or place]
            return UsageError(f"{word} is a command of seg {name}; try: {_line([name, word, *behind])}")
    shown = [name for name, command in commands.items() if not command.hidden]
    if (right := nearest(word, shown)) is not None:
        return UsageError(f"{path} has no command {word!r}; try: {_line([*before, right, *rest])}")
    return UsageError(f"{path} has no command {word!r}; it has {', '.join(shown)}")


def with_line(error: SegError, arguments: Sequence[str]) -> SegError:
    """An error about a misspelt word or path, with the command line in which it is right.

    They are read back from the message: whoever calls something unknown does so by `did_you_mean`, and whoever misses
    a file says "no such file" or "no such folder" of it.

    Args:
        error: that a command raised.
        arguments: the command line behind `seg`.
    """
    lines = [_with_near_path(line, arguments) for line in str(error).splitlines()]
    error = _saying(error, "\n".join(lines))
    right = list(arguments)
    for line in lines:
        right = _without(line, right)
    if right == list(arguments) or not all(_HINT.search(line) for line in lines):
        return error
    if len(lines) == 1:
        return _saying(error, f"{error} try: {_line(right)}")
    return _saying(error, f"{error}\ntry: {_line(right)}")


def _saying(error: SegError, text: str) -> SegError:
    """The error with another message."""
    changed = copy(error)
    changed.args = (text, *error.args[1:])
    return changed


def _with_near_path(line: str, arguments: Sequence[str]) -> str:
    """A line of a message that misses what was typed, or any folder, with what is called alike, if something is.

    A file that nobody typed is missing from a dataset; the one beside it is not what was meant.
    """
    found = _NO_FILE.match(line)
    if found is None or " try: " in line or _HINT.search(line):
        return line
    typed = found["before"] or any(found["wrong"] in argument for argument in arguments)
    if not typed and "no such folder" not in found[0]:
        return line
    near = _near(Path(found["wrong"]))
    if near is None:
        return line
    slash = "/" if found["wrong"].endswith("/") else ""
    return f"{line[: found.end()]}; did you mean {near.as_posix()}{slash}?"


def _near(path: Path) -> Path | None:
    """The path that is there and differs in the one part that is not."""
    missing = next((part for part in (*reversed(path.parents), path) if not part.exists()), path)
    try:
        there = islice(missing.parent.iterdir(), _LOOKED_AT)
        names = [other.name for other in there if not other.name.startswith(".")]
    except OSError:
        return None
    meant = nearest(missing.name, names)
    if meant is None:
        return None
    near = missing.parent / meant
    whole = near / path.relative_to(missing)
    return whole if whole.exists() else near


def _without(line: str, arguments: Sequence[str]) -> list[str]:
    """The arguments without the mistake that a line of a message is about."""
    if (key := _KEY.search(line)) is not None:
        above, dot, _ = key["wrong"].rpartition(".")
        known = key["right"] if "." in key["right"] else f"{above}{dot}{key['right']}"
        return [re.sub(rf"^{re.escape(key['wrong'])}(?=[.=])", known, argument) for argument in arguments]
    found = _WORD.search(line) or _FILE.search(line)
    if found is None:
        return [*arguments]
    right = _replaced(arguments, found["wrong"], found["right"])
    inside = _OF_KEY.search(line)
    if right == [*arguments] and inside is not None:  # it stands in the file; what is set goes before
        return [*right, "--set", f"{inside['key']}={found['right']}"]
    return right


def _replaced(arguments: Sequence[str], wrong: str, right: str) -> list[str]:
    """The arguments with one word, or one value in a list or behind `=`, replaced."""
    word = re.compile(rf"(?<![\w.-]){re.escape(wrong)}(?![\w.-])")
    return [right if argument == wrong else word.sub(right, argument, count=1) for argument in arguments]


def _line(arguments: Sequence[str]) -> str:
    return shlex.join(["seg", *arguments])
