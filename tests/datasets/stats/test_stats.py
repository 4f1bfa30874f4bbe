import base64
import io
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs
from PIL import Image
from scipy.ndimage import label
from typer.testing import Result

from segcli.components.class_weights import class_weights
from segcli.datasets.check.judge import survey
from segcli.datasets.layouts import folder
from segcli.datasets.layouts.base import Options
from segcli.datasets.prepared.format import open_prepared
from segcli.datasets.prepared.write import prepare
from segcli.datasets.stats.measure import OBJECT_SIDES, Statistics, measure
from segcli.errors import DataError


def measured(root: Path, **options: object) -> Statistics:
    chosen = Options(**options)  # type: ignore[arg-type]
    return measure(survey(folder.find(root, chosen), chosen))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_pairs(tmp_path / "mine", 8)
    mask = tmp_path / "mine" / "masks" / "003.png"
    values = np.asarray(Image.open(mask)).copy()
    values[::7] = 255
    Image.fromarray(values).save(mask)
    return tmp_path / "mine"


def test_figures_are_those_of_plain_numpy(root: Path) -> None:
    figures = measured(root)
    for split, items in figures.samples.items():
        images = np.concatenate([sample.image().reshape(-1, 3) for sample in items]) / 255
        masks = [sample.read()[1] for sample in items]
        got = figures.splits[split]
        assert got.classes is not None
        assert got.images == len(items)
        assert got.sizes == {(40, 56): len(items)}
        assert got.mean == pytest.approx(images.mean(axis=0))
        assert got.std == pytest.approx(images.std(axis=0))
        assert got.pixels == [sum(int((mask == index).sum()) for mask in masks) for index in range(3)]
        assert got.ignored == sum(int((mask == 255).sum()) for mask in masks)
        assert got.images_with == [sum(bool((mask == index).any()) for mask in masks) for index in range(3)]
        assert got.classes.present_pixels == [
            sum(int((mask != 255).sum()) for mask in masks if (mask == index).any()) for index in range(3)
        ]


def test_objects_are_those_of_scipy(root: Path) -> None:
    figures = measured(root)
    limits = [0, *(side**2 for side in OBJECT_SIDES), np.inf]
    for split, items in figures.samples.items():
        for index in range(3):
            areas = []
            for sample in items:
                regions, number = label(sample.read()[1] == index, structure=np.ones((3, 3)))
                areas += [int((regions == region).sum()) for region in range(1, number + 1)]
            expected = [sum(low <= area < high for area in areas) for low, high in pairwise(limits)]
            assert figures.splits[split].objects[index] == expected


def test_class_weights_are_those_of_the_losses(root: Path, tmp_path: Path) -> None:
    """Those that a training takes from the same dataset, prepared."""
    prepare(folder.find(root, Options()), tmp_path / "out")
    dataset = open_prepared(tmp_path / "out")
    for rule, weights in measured(root).class_weights().items():
        assert weights == pytest.approx(class_weights(rule, dataset.figures["train"]))
        assert min(weights) > 0


def test_examples_show_the_largest_objects(root: Path) -> None:
    figures = measured(root)
    for index, examples in enumerate(figures.examples):
        areas = [example.area for example in examples]
        assert areas == sorted(areas, reverse=True)
        for example in examples:
            mask = figures.samples[example.split][example.place].read()[1]
            left, top, width, height = example.box
            assert int((mask[top : top + height, left : left + width] == index).sum()) >= example.area


def test_the_command_prints_tables_and_writes_a_page(seg: Callable[..., Result], root: Path, tmp_path: Path) -> None:
    result = seg("dataset", "stats", root, "--classes", "ground,<b>house</b>,car")
    assert result.exit_code == 0, result.stderr
    assert "<b>house</b>" in result.stdout
    assert result.stdout.rstrip().endswith("mine-stats.html")
    page = (tmp_path / "mine-stats.html").read_text()
    assert "&lt;b&gt;house&lt;/b&gt;" in page
    assert "<b>house</b>" not in page
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == 12
    for picture in pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            assert min(image.size) == 150
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # it needs no other file


def test_json_holds_every_figure(seg: Callable[..., Result], root: Path) -> None:
    result = seg("dataset", "stats", root, "--json", "--html", "page.html")
    values = json.loads(result.stdout)
    train = values["splits"]["train"]
    assert (values["page"], train["images"]) == ("page.html", 6)
    assert sum(train["pixel_share"]) == pytest.approx(1)
    assert len(values["class_weights"]["median_frequency"]) == len(values["class_weights"]["effective_number"]) == 3
    assert sum(train["pixels"]) + train["ignored"] == 6 * 40 * 56


def test_wrong_data_is_refused_with_the_command_that_lists_it(seg: Callable[..., Result], root: Path) -> None:
    for name in ("000", "001"):
        (root / "images" / f"{name}.png").write_bytes(b"")
    result = seg("dataset", "stats", root)
    assert result.exit_code == 1
    assert "000.png is empty" in result.stderr
    assert "(1 more: `seg dataset check" in result.stderr


def test_a_split_without_masks_has_sizes_only(tmp_path: Path) -> None:
    for split, start in (("train", 0), ("val", 10), ("test", 20)):
        write_pairs(tmp_path / split, 3, start=start)
    for path in (tmp_path / "test" / "masks").iterdir():
        path.unlink()
    (tmp_path / "test" / "masks").rmdir()
    figures = measured(tmp_path)
    assert figures.splits["test"].pixels is None
    assert figures.splits["test"].sizes == {(40, 56): 3}


def test_nothing_to_measure_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        measured(tmp_path / "nothing")
