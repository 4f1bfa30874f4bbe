from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segcli.config import RunConfig
from segcli.datasets.holders import find_holders
from segcli.datasets.layouts import shapes
from segcli.datasets.open import open_dataset
from segcli.errors import DataError


def test_holders_are_those_whose_masks_hold_a_pixel(tiny: Callable[..., RunConfig]) -> None:
    config = tiny()
    folder = config.dataset.train_masks_dir
    assert folder is not None
    mask = np.full((40, 56), 255, np.uint8)
    mask[3, 7] = 2
    Image.fromarray(mask).save(folder / "001.png")
    dataset = open_dataset(config.dataset)
    assert find_holders(dataset.split("train"), dataset.task) == [[0, 2, 3, 4, 5], [0, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]


def test_samples_that_are_made_are_looked_at_too() -> None:
    samples = shapes.dataset().split("train")[:4]
    expected = [[i for i, sample in enumerate(samples) if (sample.read()[1] == index).any()] for index in range(4)]
    told: list[tuple[str, int, int]] = []
    assert find_holders(samples, shapes.TASK, lambda *done: told.append(done)) == expected
    assert told[-1] == ("looking for classes", 4, 4)


def test_a_damaged_mask_is_named(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = tiny()
    dataset = open_dataset(config.dataset)
    (tmp_path / "data" / "train" / "masks" / "003.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="003.png is not an image"):
        find_holders(dataset.split("train"), dataset.task)
