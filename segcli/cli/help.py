"""How the commands' help is laid out: the groups of their options, their examples, and the page that shows them.

Typer's own page by Rich imports Markdown, Pygments and tracebacks, which takes as long as all of Typer does at the
start, and writes types (`<list[Path]>`) where a user looks for what to type; so the page is laid out here, on Rich's
tables.
"""

import io
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

if TYPE_CHECKING:
    from rich.console import Console

Function = TypeVar("Function", bound=Callable[..., Any])

READS = "What it reads"
WRITES = "What it writes"
COMPUTES = "How it computes"
FOLDER = "How a plain folder is read"

GROUPS = (READS, FOLDER, WRITES, COMPUTES)
"""The groups of options, in the order in which a page shows them."""

DATA, MODELS, USE, ABOUT = "Data", "Models", "Use of a model", "What there is"
"""The groups of commands."""

EXPLAINED_BY = {FOLDER: "seg dataset prepare"}
"""Groups that several commands share and one explains; the others name the options alone."""

_MOST = 120  # columns; longer lines are hard to read
_EXAMPLES = "Examples:\n\n"


def examples(*lines: str) -> str:
    """A command's epilog: command lines as a user types them, `seg …  # why`, one a line.

    A blank line stands between them because Click folds the lines of a paragraph.
    """
    return _EXAMPLES + "\n\n".join(lines)


def examples_of(command: Any) -> list[str]:
    """The command lines that a command's epilog holds."""
    epilog: str = command.epilog or ""
    return epilog.removeprefix(_EXAMPLES).split("\n\n") if epilog.startswith(_EXAMPLES) else []


class SegCommand(TyperCommand):
    """A command with our page of help; an option that takes one value is given once."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the page."""
        formatter.write(page(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the command's arguments."""
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
            given = [item for item in order if isinstance(item, TyperOption) and not (item.multiple or item.is_flag)]
            twice = next((item for item in given if given.count(item) > 1), None)
            if twice is not None:
                ctx.fail(f"{max(twice.opts, key=len)} is given {given.count(twice)} times; give it once")
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Completes the names of options."""
        return _without_help(super().shell_complete(ctx, incomplete))


class SegSubgroup(TyperGroup):
    """A group of commands with our page of help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the page."""
        formatter.write(page(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses what stands before the command; shows the page where there is nothing."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command; says where a word that is none here is one."""
        if not ctx.resilient_parsing and args[0] not in self.commands and not args[0].startswith("-"):
            from segcli.cli import corrections

            raise corrections.of_command(args[0], self.commands, ctx.find_root().obj, ctx.command_path)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Completes the names of commands and options."""
        return _without_help(super().shell_complete(ctx, incomplete))


def _without_help(items: list[Any]) -> list[Any]:
    """Completions without their help: Typer formats it by its own page, whose import takes half a second."""
    for item in items:
        item.help = None
    return items


class Commands(typer.Typer):
    """A group of commands, whose pages are laid out here."""

    def __init__(self, summary: str, cls: type[SegSubgroup] = SegSubgroup, **settings: Any) -> None:
        super().__init__(
            cls=cls, help=summary, rich_markup_mode=None, pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]}, **settings,
        )  # fmt: skip
        if settings.get("name") is None:
            self.callback()(_nothing)  # else a single command would stand for its group

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """Adds a command, as Typer does."""
        return super().command(name, **{"cls": SegCommand, **settings})


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class _Group:
    """Some lines of a page: what to type, and what it means."""

    title: str
    rows: Sequence[tuple[str, str]]


def page(command: Any, ctx: Any, width: int | None = None) -> str:
    """The help of a command.

    Args:
        command: a command or a group of commands.
        ctx: its context.
        width: in columns; None is that of the terminal.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty() and width is None
    columns = width or min(shutil.get_terminal_size((_MOST, 24)).columns, _MOST)
    console = Console(file=io.StringIO(), width=columns, force_terminal=terminal, highlight=False, emoji=False)
    console.print(Text.assemble(("Usage: ", "bold"), _usage(command, ctx)))
    console.print(Text("\n" + " ".join((command.help or "").split())))
    groups = [*_commands(command, ctx), *_groups(command, ctx)]
    names = [name for group in groups for name, _ in group.rows if name]
    left = min(max(map(len, names)), columns // 3)
    for group in groups:
        console.print(Text(f"\n{group.title}", style="bold green"))
        table = Table.grid(padding=(0, 0, 0, 2), pad_edge=True)
        for name, _ in group.rows[:1]:
            if name:
                table.add_column(width=left + 2, style="bold cyan", overflow="fold")
        table.add_column()
        for name, meaning in group.rows:
            table.add_row(*(Text(cell) for cell in (name, meaning) if cell))
        console.print(table)
    _print_examples(examples_of(command), console)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def _print_examples(lines: Sequence[str], console: "Console") -> None:
    from rich.text import Text

    if lines:
        console.print(Text("\nExamples", style="bold green"))
    longest = max((len(line.partition("#")[0].rstrip()) for line in lines), default=0)
    for line in lines:
        typed, _, why = (part.strip() for part in line.partition("#"))
        aside = 2 + longest + 4 + len(why) <= console.width
        gap = " " * (longest - len(typed) + 2) if aside else "\n      "
        console.print(Text(f"  {typed}" + (f"{gap}# {why}" if why else "")), soft_wrap=True)


def _usage(command: Any, ctx: Any) -> str:
    parts = [ctx.command_path]
    parts += [_name(item) if item.required else f"[{_name(item)}]" for item in _parameters(command, TyperArgument)]
    return " ".join([*parts, *(["COMMAND"] if isinstance(command, TyperGroup) else []), "[options]"])


def _parameters(command: Any, kind: type[Any]) -> list[Any]:
    return [item for item in command.params if isinstance(item, kind) and not getattr(item, "hidden", False)]


def _groups(command: Any, ctx: Any) -> Iterator[_Group]:
    """The arguments and options, by their groups."""
    items = [*_parameters(command, TyperArgument), *_parameters(command, TyperOption)]
    for title in GROUPS:
        inside = [item for item in items if item.rich_help_panel == title]
        explained = EXPLAINED_BY.get(title, ctx.command_path)
        if inside and ctx.command_path != explained:
            names = ", ".join(max(item.opts, key=len) for item in inside)
            yield _Group(f"{title} (see `{explained} --help`)", [("", names)])
        elif inside:
            yield _Group(title, [(_name(item), _meaning(item)) for item in inside])
    others = [(_name(item), _meaning(item)) for item in items if item.rich_help_panel not in GROUPS]
    yield _Group("Options", [*others, ("-h, --help", "Show this page.")])


def _name(item: Any) -> str:
    """What one types: `-m, --model MODEL`, or the name of an argument."""
    if isinstance(item, TyperArgument):
        name = (item.metavar or str(item.name).upper()).strip("[]")
        return name if item.nargs == 1 or name.endswith("…") else f"{name}…"
    options = ", ".join(sorted([*item.opts, *item.secondary_opts], key=len))
    return options if item.is_flag else f"{options} {item.metavar}"


def _meaning(item: Any) -> str:
    """Its help, and its default where the help does not say it."""
    text = item.help or ""
    shown = item.show_default and item.default not in (None, False, "", ()) and "[default" not in text
    return f"{text} [default: {item.default}]" if shown else text


def _commands(command: Any, ctx: Any) -> Iterator[_Group]:
    """The commands of a group, by their own groups."""
    if not isinstance(command, TyperGroup):
        return
    inner = [command.commands[name] for name in command.list_commands(ctx)]
    shown: dict[str, list[Any]] = {title: [] for title in (DATA, MODELS, USE, ABOUT)}
    for item in inner:
        if not item.hidden:
            shown.setdefault(getattr(item, "rich_help_panel", None) or "Commands", []).append(item)
    for title, items in shown.items():
        if items:
            yield _Group(title, [(item.name, " ".join(item.help.partition("\n\n")[0].split())) for item in items])
