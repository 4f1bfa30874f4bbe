"""Class weights by hand, on three masks of three classes."""

import math

import pytest

from segcli.components.class_weights import ClassFigures, class_weights, effective_number, median_frequency
from segcli.errors import ConfigError

# 100 valid pixels, 100 and 50: class 1 is small but common where it is, class 2 in one small image
FIGURES = ClassFigures.of([(60, 40, 0), (100, 0, 0), (30, 0, 20)])


def test_figures_of_masks() -> None:
    assert ClassFigures([190, 40, 20], [250, 100, 50], [3, 1, 1]) == FIGURES


def test_median_frequency_counts_over_the_images_that_hold_a_class() -> None:
    """190 of 250, 40 of 100 and 20 of 50; over all images it would be 190, 40 and 20 of 250."""
    assert class_weights("median_frequency", FIGURES) == pytest.approx([0.4 / 0.76, 1.0, 1.0])
    assert median_frequency([10, 30, 0, 60, 5], [100, 100, 0, 100, 100]) == pytest.approx([2, 2 / 3, 0, 1 / 3, 4])
    assert median_frequency([0, 0], [0, 0]) == [0, 0]


def test_effective_number_is_that_of_images() -> None:
    """1 + b + b² of 3 images, 1 of 1; the weights add up to the number of classes."""
    inverse = [1 / (1 + 0.9999 + 0.9999**2), 1.0, 1.0]
    expected = [3 * value / sum(inverse) for value in inverse]
    assert class_weights("effective_number", FIGURES) == pytest.approx(expected, rel=1e-9)
    # 1 - 0.9999^n of 100,000 images is all but 1, of 10,000 it is 0.632139
    common, rare, never = effective_number([100_000, 10_000, 0])
    assert rare / common == pytest.approx((1 - math.exp(-10.0005)) / 0.632139, rel=1e-5)
    assert (common + rare, never) == (pytest.approx(2), 0)
    assert effective_number([0, 0]) == [0, 0]


def test_the_other_rules() -> None:
    assert class_weights("none", FIGURES) is None
    assert class_weights("log", ClassFigures([50, 0, 50])) == pytest.approx(
        [1 / math.log(1.52), 1 / math.log(1.02), 1 / math.log(1.52)]
    )
    assert class_weights((4.0, 9.0, 0.0), FIGURES, power=0.5) == pytest.approx([2.0, 3.0, 0.0])
    with pytest.raises(ConfigError, match="2 weights for 3 classes"):
        class_weights((1.0, 2.0), FIGURES)


@pytest.mark.parametrize("rule", ["median_frequency", "effective_number"])
def test_a_dataset_that_was_prepared_without_the_figures_is_to_be_prepared_again(rule: str) -> None:
    with pytest.raises(ConfigError, match=f"{rule} asks how many images hold each class.*prepare it again"):
        class_weights(rule, ClassFigures([190, 40, 20]))
