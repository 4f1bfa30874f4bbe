"""Widths and sides of masks, by shapes whose answer is known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from segcli.config import RunConfig
from segcli.datasets.open import open_dataset
from segcli.engine.planning.figures import measure_figures, region_width
from segcli.engine.planning.orientation import GRID, orientation
from segcli.errors import DataError


@pytest.mark.parametrize("width", [2, 3, 6, 12, 31])
def test_a_strip_is_as_wide_as_it_is(width: int) -> None:
    region = np.zeros((120, 400), np.uint8)
    region[40 : 40 + width, 10:390] = 1
    assert region_width(region) == pytest.approx(width, rel=0.12)
    assert region_width(np.ascontiguousarray(region.T)) == pytest.approx(width, rel=0.12)


def test_a_disc_is_less_wide_than_its_diameter_and_a_full_image_has_no_border() -> None:
    y, x = np.mgrid[-50:51, -50:51]
    assert 20 < region_width((x**2 + y**2 < 40**2).astype(np.uint8)) < 80
    assert region_width(np.ones((30, 40), np.uint8)) > 40


def blobs(places: Callable[[np.random.Generator], tuple[int, int]]) -> np.ndarray:
    """Grids of sixty masks with one blob each."""
    rng = np.random.default_rng(0)
    grids = np.zeros((60, 2, GRID, GRID))
    for grid in grids:
        y, x = places(rng)
        grid[1, y, x] = 1
        grid[0] = 1 - grid[1]
    return grids


def test_blobs_anywhere_know_no_side() -> None:
    asked = orientation(blobs(lambda rng: tuple(rng.integers(0, GRID, 2))))  # type: ignore[arg-type, return-value]
    assert asked.knows_no_side
    assert asked.may_be_turned_over


def test_blobs_at_the_top_may_be_mirrored_and_not_turned_over() -> None:
    asked = orientation(blobs(lambda rng: (int(rng.integers(0, 3)), int(rng.integers(0, GRID)))))
    assert asked.mirrored > 0.05
    assert not asked.may_be_turned_over
    assert asked.turned < 0.01
    assert not asked.knows_no_side


def test_figures_of_a_dataset(tiny: Callable[..., RunConfig]) -> None:
    dataset = open_dataset(tiny().dataset)
    figures = measure_figures(dataset)
    assert (figures.train_images, figures.val_images) == (6, 3)
    assert (figures.size, figures.short_side) == ((40, 56), 40)
    for split, images_with in (("train", figures.images_with), ("val", figures.val_images_with)):
        counts = np.stack([np.bincount(sample.read()[1].ravel(), minlength=256)[:3] for sample in dataset.split(split)])
        assert images_with == tuple((counts > 0).sum(axis=0))
        if split == "train":
            assert figures.shares == pytest.approx(tuple(counts.sum(axis=0) / counts.sum()))
    assert all(width > 3 for width in figures.widths)
    assert figures.thinnest in {1, 2}


def test_what_cannot_be_trained_on_is_said(tiny: Callable[..., RunConfig]) -> None:
    dataset = open_dataset(tiny().dataset)
    with pytest.raises(DataError, match="has no val split"):
        measure_figures(replace(dataset, splits={"train": dataset.splits["train"]}))
    rest = [0] * (dataset.task.num_classes - 1)
    alone = replace(dataset.figures["train"], images_with=[6, *rest])
    with pytest.raises(DataError, match=r"hold 'class_0' alone|hold '0' alone"):
        measure_figures(replace(dataset, figures={**dataset.figures, "train": alone}))
