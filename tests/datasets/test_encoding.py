"""What values mean where nobody has said it: noise and slips are told from rare classes."""

from pathlib import Path

import numpy as np
import pytest

from segcli.datasets.encoding import MaskValues, infer_encoding
from segcli.errors import FileProblem


def classes(masks: list[dict[int, int]]) -> int:
    values = [MaskValues(Path(f"{place}.png"), pixels) for place, pixels in enumerate(masks)]
    return infer_encoding(values, None, None, None, {}).task.num_classes


def test_rare_classes_of_a_long_tail_are_classes() -> None:
    """1000 masks, 60 classes of which the rarest are in 8 masks each, each on a fair part of them."""
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(1000):
        held = [0, *(index for index in range(1, 60) if rng.random() < max(0.6 / index, 0.008))]
        masks.append(dict.fromkeys(held, 100_000 // len(held)))
    assert classes(masks) == 1 + max(index for mask in masks for index in mask)


def test_classes_that_are_always_small_are_classes() -> None:
    """20 masks, ten large classes and ten of 30 pixels each in every one."""
    assert classes([{**dict.fromkeys(range(10), 10_000), **dict.fromkeys(range(10, 20), 30)}] * 20) == 20


def test_a_class_that_several_masks_hold_is_no_slip() -> None:
    masks = [{0: 5000, 1: 3000, 2: 2000}] * 196 + [{0: 5000, 1: 3000, 8: 2000}] * 4
    assert classes(masks) == 9


def test_a_value_far_beyond_in_a_single_mask_is_a_slip() -> None:
    assert classes([{0: 5000, 1: 3000, 2: 2000}] * 20 + [{0: 5000, 77: 2000}]) == 3


def test_a_value_just_beyond_in_a_single_mask_is_a_class() -> None:
    assert classes([{0: 5000, 1: 3000, 2: 2000}] * 20 + [{0: 5000, 4: 2000}]) == 5


@pytest.mark.parametrize("seed", range(3))
def test_smooth_edges_are_no_classes(seed: int) -> None:
    """0 and 255 with a few pixels of many values between them, other ones in each mask, all of them together."""
    rng = np.random.default_rng(seed)
    masks = [{0: 20_000, 255: 9_000, **{int(value): 20 for value in rng.integers(1, 255, 60)}} for _ in range(40)]
    values = [MaskValues(Path(f"{place}.png"), pixels) for place, pixels in enumerate(masks)]
    assert infer_encoding(values, None, None, None, {255: 1}).task.num_classes == 2
    with pytest.raises(FileProblem, match="only 0 and 255"):
        infer_encoding(values, None, None, None, {})
