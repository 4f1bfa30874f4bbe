"""Which samples hold which classes: from what is known of the masks, which are read only where it is not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pairs
from PIL import Image

from segcli.config import RunConfig
from segcli.datasets.layouts import folder, shapes
from segcli.datasets.layouts.base import Options
from segcli.datasets.open import open_dataset
from segcli.datasets.prepared.format import open_prepared
from segcli.datasets.prepared.write import prepare
from segcli.errors import DataError


class Told(list[str]):
    """A progress that keeps what was done."""

    def __call__(self, what: str, done: int, total: int) -> None:
        self.append(what)


def test_samples_with_a_class_are_those_whose_masks_hold_a_pixel(tiny: Callable[..., RunConfig]) -> None:
    config, told = tiny(), Told()
    assert config.dataset.train_masks_dir is not None
    mask = np.full((40, 56), 255, np.uint8)
    mask[3, 7] = 2
    Image.fromarray(mask).save(config.dataset.train_masks_dir / "001.png")
    dataset = open_dataset(config.dataset)
    expected = [[0, 2, 3, 4, 5], [0, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    assert (dataset.samples_with_class("train", told), told) == (expected, [])
    assert replace(dataset, held={}).samples_with_class("train", told) == expected
    assert told == ["looking for classes"] * 6


def test_samples_that_are_made_are_looked_at_too() -> None:
    dataset = shapes.dataset()
    samples = dataset.split("train")[:4]
    expected = [[i for i, sample in enumerate(samples) if (sample.read()[1] == index).any()] for index in range(4)]
    assert replace(dataset, splits={"train": samples}).samples_with_class("train") == expected


def test_a_damaged_mask_is_named(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    dataset = replace(open_dataset(tiny().dataset), held={})
    (tmp_path / "data" / "train" / "masks" / "003.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="003.png is not an image"):
        dataset.samples_with_class("train")


def test_a_prepared_dataset_knows_its_classes_and_reads_what_changed(tmp_path: Path) -> None:
    root, out, told = write_pairs(tmp_path / "mine", 6, values=(0, 1, 4)), tmp_path / "out", Told()
    Image.new("L", (56, 40), 255).save(root / "masks" / "002.png")
    prepare(folder.find(root, Options(classes=5)), out, Options(classes=5))
    dataset = open_prepared(out)
    number = len(dataset.split("train"))
    found = dataset.samples_with_class("train", told)
    assert told == []
    assert found == [
        [i for i, sample in enumerate(dataset.split("train")) if (sample.read()[1] == index).any()]
        for index in range(5)
    ]
    changed = out / "masks" / "train" / f"{dataset.split('train')[1].name}.png"
    Image.new("L", (56, 40), 3).save(changed)
    assert open_prepared(out).samples_with_class("train", told)[3] == [1]
    assert told == ["looking for classes"]
    # one that was prepared before classes were written down
    lines = (out / "files.tsv").read_text().splitlines()
    (out / "files.tsv").write_text("".join(line.rsplit("\t", 1)[0] + "\n" for line in lines))
    assert open_prepared(out).samples_with_class("train", told)[3] == [1]
    assert len(told) == 1 + number
