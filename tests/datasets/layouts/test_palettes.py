from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs
from PIL import Image
from typer.testing import Result

from segcli.datasets.layouts.palettes import read_palette
from segcli.datasets.prepared.format import open_prepared
from segcli.errors import DataError

COLOURS = np.array([(0, 0, 0), (200, 0, 0), (0, 0, 200)], np.uint8)


def write_coloured(root: Path, number: int = 8) -> Path:
    write_pairs(root, number)
    for path in (root / "masks").iterdir():
        Image.fromarray(COLOURS[np.asarray(Image.open(path))]).save(path)
    return root


@pytest.mark.parametrize(
    "text",
    [
        "0 0 0\tbackground\n200 0 0\t\tcar\n0 0 200 sky\n",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:200,0,0::\nsky:0,0,200::\n",
        "name,r,g,b\nbackground,0,0,0\ncar,200,0,0\nsky,0,0,200\n",
        "background: '#000000'\ncar: '#C80000'\nsky: '#0000c8'\n",
    ],
)
def test_palettes_of_all_forms_are_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "palette.txt").write_text(text)
    palette = read_palette(tmp_path / "palette.txt")
    assert palette == {"background": (0, 0, 0), "car": (200, 0, 0), "sky": (0, 0, 200)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0 0 a\n0 0 0 b\n", r"palette.txt:2: .* its name or colour stands twice"),
        ("0 0 0 a\n0 0 300 b\n", r"palette.txt:2: \(0, 0, 300\) is no colour"),
        ("0 0 0 a\n1 1 1\n", r"palette.txt:2: .* has no name"),
        ("hello\n", "lists 0 colours"),
    ],
)
def test_wrong_palettes_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "palette.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_palette(tmp_path / "palette.txt")


def prepared_masks(root: Path, native: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    dataset = open_prepared(root)
    return [
        (sample.read()[1], np.asarray(Image.open(native / "masks" / f"{sample.name}.png")))
        for split in dataset.splits.values()
        for sample in split
    ]


def test_colours_become_indices_by_a_given_palette(seg: Callable[..., Result], tmp_path: Path) -> None:
    native = write_coloured(tmp_path / "mine")
    (tmp_path / "palette.txt").write_text("200 0 0 car\n0 0 0 Void\n0 0 200 sky\n")
    result = seg("dataset", "prepare", "folder", "--from", "mine", "--palette", "palette.txt", "--to", "out")
    assert result.exit_code == 0, result.stderr
    task = open_prepared(tmp_path / "out").task
    assert (task.classes, task.palette) == (("car", "sky"), ((200, 0, 0), (0, 0, 200)))
    for mask, colours in prepared_masks(tmp_path / "out", native):
        assert np.array_equal(mask == 0, (colours == (200, 0, 0)).all(-1))
        assert np.array_equal(mask == 255, (colours == 0).all(-1))


def test_colours_are_found_and_numbered_by_colour(seg: Callable[..., Result], tmp_path: Path) -> None:
    native = write_coloured(tmp_path / "mine")
    result = seg("dataset", "prepare", "folder", "--from", "mine", "--palette", "auto", "--to", "out")
    assert result.exit_code == 0, result.stderr
    task = open_prepared(tmp_path / "out").task
    assert task.classes == ("#000000", "#0000c8", "#c80000")
    for mask, colours in prepared_masks(tmp_path / "out", native):
        assert np.array_equal(np.array(task.palette)[mask], colours)
    for place in range(8, 12):  # more images of one class change nothing
        write_pairs(native, 1, start=place)
        Image.fromarray(np.full((40, 56, 3), (200, 0, 0), np.uint8)).save(native / f"masks/{place:03d}.png")
    assert seg("dataset", "prepare", "folder", "--from", "mine", "--palette", "auto", "--to", "more").exit_code == 0
    assert open_prepared(tmp_path / "more").task == task


def test_a_colour_that_the_palette_does_not_list_is_named(seg: Callable[..., Result], tmp_path: Path) -> None:
    write_coloured(tmp_path / "mine")
    (tmp_path / "palette.txt").write_text("200 0 0 car\n0 0 0 ground\n")
    result = seg("dataset", "prepare", "folder", "--from", "mine", "--palette", "palette.txt", "--to", "out")
    assert result.exit_code == 1
    assert "holds #0000c8, which the palette does not list" in result.stderr


def test_smooth_colours_are_no_classes(seg: Callable[..., Result], tmp_path: Path) -> None:
    write_coloured(tmp_path / "mine")
    for path in (tmp_path / "mine" / "masks").iterdir():
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)).save(path)
    result = seg("dataset", "prepare", "folder", "--from", "mine", "--palette", "auto", "--to", "out")
    assert (result.exit_code, "colours, which are no classes" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ignore-index", "1"], "leave out --map and --ignore-index"),
        (["--map", "0=1"], "leave out --map and --ignore-index"),
        (["--classes", "a,b"], "leave --classes out"),
    ],
)
def test_a_palette_stands_alone(seg: Callable[..., Result], tmp_path: Path, options: list[str], message: str) -> None:
    write_coloured(tmp_path / "mine")
    result = seg("dataset", "prepare", "folder", "--from", "mine", "--palette", "auto", *options)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_a_palette_of_one_class_is_refused(seg: Callable[..., Result], tmp_path: Path) -> None:
    write_coloured(tmp_path / "mine")
    (tmp_path / "palette.txt").write_text("0 0 0 void\n200 0 0 car\n")
    result = seg("dataset", "prepare", "folder", "--from", "mine", "--palette", "palette.txt")
    assert (result.exit_code, "lists 1 classes besides void" in result.stderr) == (2, True)


def test_more_than_255_colours_ignore_65535(seg: Callable[..., Result], tmp_path: Path) -> None:
    write_pairs(tmp_path / "mine", 4)
    values = np.arange(40 * 56).reshape(40, 56) % 256
    for path in (tmp_path / "mine" / "masks").iterdir():
        Image.fromarray(np.stack([values, values[::-1] * 0, values * 0 + 9], -1).astype(np.uint8)).save(path)
    result = seg("dataset", "prepare", "folder", "--from", "mine", "--palette", "auto", "--to", "out")
    assert result.exit_code == 0, result.stderr
    dataset = open_prepared(tmp_path / "out")
    assert (dataset.task.num_classes, dataset.task.ignore_index) == (256, 65535)
    assert set(np.unique(dataset.splits["train"][0].read()[1])) == set(range(256))


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "palette.txt").write_text("void 0 0 0\ncar 200 0 0\nsky 0 0 200\n", encoding="utf-8-sig")
    assert list(read_palette(tmp_path / "palette.txt")) == ["void", "car", "sky"]
    (tmp_path / "palette.txt").write_text("1 255 0 0 car\n2 0 0 0 sky\n")
    with pytest.raises(DataError, match=r"palette.txt:1: .* it holds four numbers; a colour has three"):
        read_palette(tmp_path / "palette.txt")
