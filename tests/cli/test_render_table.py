from io import StringIO

import pytest
from rich.console import Console

from segcli.cli.render import new_table
from segcli.cli.render_table import show_table

NAMES = ["background", "chest of drawers, chest, bureau, dresser", "car"]
TITLES = ["train pixels", "val pixels", "train images", "val images", "median size", "median-frequency weight"]


def printed(width: int) -> list[str]:
    table = new_table("furniture: 3 classes")
    table.add_column("class")
    for title in TITLES:
        table.add_column(title, justify="right")
    for name in NAMES:
        table.add_row(name, *(f"{place}2.34%" for place in range(len(TITLES))))
    console = Console(file=StringIO(), width=width)
    show_table(table, console)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize(("width", "times"), [(60, 6), (80, 2), (120, 1), (200, 1)])
def test_names_stay_whole_and_columns_go_below(width: int, times: int) -> None:
    lines = printed(width)
    assert max(map(len, lines)) <= width
    for name in NAMES:
        assert sum(f"│ {name} " in line for line in lines) == times
    for place in range(len(TITLES)):
        assert sum(f"{place}2.34%" in line for line in lines) == len(NAMES)
    assert sum("furniture" in line for line in lines) == 1


def test_a_name_wider_than_the_terminal_is_folded() -> None:
    lines = printed(30)
    assert max(map(len, lines)) <= 30
    assert "dresser" in "".join(lines)


def test_texts_wrap_between_words() -> None:
    table = new_table()
    table.add_column("name")
    table.add_column("what it is", overflow="fold")
    table.add_row("cross_entropy", "the usual loss of a classification, of each pixel here, with weights for classes")
    console = Console(file=StringIO(), width=60)
    show_table(table, console)
    assert isinstance(console.file, StringIO)
    words = {word for line in console.file.getvalue().splitlines() for word in line.split()}
    assert {"cross_entropy", "classification,", "weights", "classes"} <= words


def test_a_path_without_room_breaks_between_its_parts() -> None:
    table = new_table()
    table.add_column("finding")
    table.add_column("example", overflow="fold")
    table.add_column("files", justify="right")
    path = "images/a_rather_long_name_of_an_image_without_any_mask_at_all_0001.png"
    table.add_row("image without a mask", path, "1")
    table.add_row("broken", "x" * 80, "2")
    console = Console(file=StringIO(), width=60)
    show_table(table, console)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    shown = [line.split("│")[2].strip() for line in lines if line.startswith("│")]
    assert "".join(shown) == path + "x" * 80
    parts = [part for part in shown if not part.startswith("x")]
    assert len(parts) > 1
    assert all(part[-1] in "/_.:-" for part in parts[:-1])
