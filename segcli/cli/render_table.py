"""Prints tables: names and figures stay whole, and columns without room stand below."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column, Table

_LEAST_TEXT = 24  # columns that a text gets at least, where there are so many
_FRAME = 3  # a line and a blank on both sides


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
        part.add_row(*texts, style=row.style, end_section=row.end_section)
    return part


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

    return max((Text.from_markup(str(cell)).cell_len for cell in column.cells), default=0)
