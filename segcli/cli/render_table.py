"""Prints tables: names and figures stay whole, and columns without room stand below."""

import re
from collections.abc import Iterator, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.table import Column, Table

_LEAST_TEXT = 24  # columns that a text gets at least, where there are so many
_FRAME = 3  # a line and a blank on both sides
_WORD = re.compile(r"\s*\S+\s*")
_PIECE = re.compile(r"[^/_.:-]*[/_.:-]+|[^/_.:-]+")


def show_table(table: "Table", console: "Console") -> None:
    """Prints a table that may be too wide: then titles wrap, then texts, then columns go below, behind the names.

    A column with overflow="fold" holds texts; the others hold names and figures, of which none is broken unless it
    alone is too wide.
    """
    if 1 + sum(_FRAME + max(_longest(column), len(str(column.header))) for column in table.columns) <= console.width:
        console.print(table)
        return
    groups = _groups(table, console.width)
    for place, group in enumerate(groups):
        console.print(_part(table, group, console.width, with_title=place == 0))


def _part(table: "Table", group: Sequence[int], width: int, with_title: bool) -> "Table":
    """Some columns of a table, as a table."""
    from rich.table import Table

    part = Table(title=table.title if with_title else None, title_justify="left")
    whole = _width(table, group) <= width
    for number in group:
        column = table.columns[number]
        title = fill(str(column.header), _least(column), break_long_words=False)
        part.add_column(
            title, justify=column.justify, overflow="fold", no_wrap=whole and column.overflow != "fold",
        )  # fmt: skip
    cells = [list(table.columns[number].cells) for number in group]
    for row, texts in zip(table.rows, zip(*cells, strict=True), strict=True):
        folded = (
            _Folded(str(text)) if table.columns[number].overflow == "fold" else text
            for number, text in zip(group, texts, strict=True)
        )
        part.add_row(*folded, style=row.style, end_section=row.end_section)
    return part


class _Folded:
    """A text that breaks between words, and a path or name without room for it behind `/`, `_`, `.`, `:` or `-`."""

    def __init__(self, markup: str) -> None:
        from rich.text import Text

        self.text = Text.from_markup(markup)

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        for line in self.text.split("\n"):
            for part in line.divide(_breaks(line.plain, options.max_width)):
                part.rstrip()
                yield part

    def __rich_measure__(self, console: "Console", options: "ConsoleOptions") -> "Measurement":
        from rich.measure import Measurement

        found = Measurement.get(console, options, self.text)
        return Measurement(min(found.minimum, _LEAST_TEXT), found.maximum)


def _breaks(text: str, width: int) -> Iterator[int]:
    """Where the lines of a text begin that is not to be wider than that."""
    from rich.cells import cell_len

    place = used = 0
    for part in _parts(text, width):
        if used and used + cell_len(part.rstrip()) > width:
            yield place
            used = 0
        place, used = place + len(part), used + cell_len(part)


def _parts(text: str, width: int) -> Iterator[str]:
    """A text in parts that stay whole: words with the blanks behind them, and of longer ones the pieces of a path."""
    from rich.cells import cell_len, chop_cells

    for word in _WORD.findall(text):
        if cell_len(word.rstrip()) <= width:
            yield word
            continue
        for piece in _PIECE.findall(word):
            yield from chop_cells(piece, width)


def _groups(table: "Table", width: int) -> list[list[int]]:
    """The columns dealt to tables that fit into a width, each of which begins with the first column."""
    groups = [[0]]
    for number in range(1, len(table.columns)):
        if len(groups[-1]) > 1 and _width(table, [*groups[-1], number]) > width:
            groups.append([0])
        groups[-1].append(number)
    return groups


def _width(table: "Table", group: Sequence[int]) -> int:
    """How wide a table of some columns is at least."""
    return 1 + sum(_FRAME + _least(table.columns[number]) for number in group)


def _least(column: "Column") -> int:
    """How wide a column is at least: its longest cell, or less of a text, and the longest word of its title."""
    longest = _longest(column)
    word = max((len(word) for word in str(column.header).replace("-", "- ").split()), default=0)
    return max(min(longest, _LEAST_TEXT) if column.overflow == "fold" else longest, word, 1)


def _longest(column: "Column") -> int:
    """The cells of a terminal that a column's longest text takes."""
    from rich.text import Text

    texts = (Text.from_markup(str(cell)) for cell in column.cells)
    return max((line.cell_len for text in texts for line in text.split("\n")), default=0)
