"""Weights of classes from how often they occur: for the losses, and for the figures of a dataset."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

from segcli.errors import ConfigError

_BETA = 0.9999
"""Of Cui et al.: the effective number of images goes up to 1 / (1 - beta)."""


@dataclass(frozen=True)
class ClassFigures:
    """How often each class occurs in the masks that are trained on; one entry a class.

    Attributes:
        pixels: its pixels.
        present_pixels: the valid pixels of the images that hold it; None where nobody counted them.
        images_with: the images that hold it; None likewise.
    """

    pixels: Sequence[int]
    present_pixels: Sequence[int] | None = None
    images_with: Sequence[int] | None = None

    @classmethod
    def of(cls, masks: Sequence[Sequence[int]]) -> Self:
        """The figures of masks, each given by its pixels of each class; of one mask at least."""
        columns = list(zip(*masks, strict=True))
        totals = [sum(counts) for counts in masks]
        return cls(
            [sum(column) for column in columns],
            [sum(total for total, count in zip(totals, column, strict=True) if count) for column in columns],
            [sum(count > 0 for count in column) for column in columns],
        )


def class_weights(rule: str | Sequence[float], figures: ClassFigures, power: float = 1.0) -> list[float] | None:
    """The weight of each class by a rule of the config, or the given ones.

    Args:
        rule: `none`, `log`, `median_frequency`, `effective_number`, or one weight a class.
        figures: of the training masks.
        power: that the weights are raised to.

    Raises:
        ConfigError: if the number of given weights is not that of the classes, or the rule wants figures that nobody
            counted.
    """
    if rule == "none":
        return None
    return [weight**power for weight in _plain_weights(rule, figures)]


def _plain_weights(rule: str | Sequence[float], figures: ClassFigures) -> list[float]:
    if rule == "log":
        total = max(sum(figures.pixels), 1)
        return [1 / math.log(1.02 + count / total) for count in figures.pixels]
    if rule == "median_frequency" and figures.present_pixels is not None:
        return median_frequency(figures.pixels, figures.present_pixels)
    if rule == "effective_number" and figures.images_with is not None:
        return effective_number(figures.images_with)
    if isinstance(rule, str):
        raise ConfigError(
            f"loss.class_weights: {rule} asks how many images hold each class, which was not counted when this dataset "
            f"was prepared; prepare it again, or take log"
        )
    if len(rule) != len(figures.pixels):
        raise ConfigError(
            f"loss.class_weights: {len(rule)} weights for {len(figures.pixels)} classes; give one weight a class"
        )
    return [float(weight) for weight in rule]


def median_frequency(pixels: Sequence[int], present_pixels: Sequence[int]) -> list[float]:
    """The median of the classes' frequencies over each one's own; 0 for a class that never occurs.

    A frequency is the share of a class in the pixels of the images that hold it. Source: Eigen & Fergus, "Predicting
    Depth, Surface Normals and Semantic Labels with a Common Multi-Scale Convolutional Architecture", 2015, section 6.3.

    Args:
        pixels: of each class.
        present_pixels: the valid pixels of the images that hold it.
    """
    frequencies = [count / present if count else 0.0 for count, present in zip(pixels, present_pixels, strict=True)]
    middle = median([frequency for frequency in frequencies if frequency] or [0.0])
    return [middle / frequency if frequency else 0.0 for frequency in frequencies]


def effective_number(images_with: Sequence[int]) -> list[float]:
    """One over the effective number of each class's images, with a mean of 1 over the classes that occur; 0 for others.

    Of n images (1 - b^n) / (1 - b) are effective, with b = 0.9999; of pixels there are so many that each class would
    have 1 / (1 - b). Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", 2019, section 3.

    Args:
        images_with: the images that hold each class.
    """
    inverse = [(_BETA - 1) / math.expm1(number * math.log(_BETA)) if number else 0.0 for number in images_with]
    factor = sum(number > 0 for number in images_with) / (sum(inverse) or 1.0)
    return [weight * factor for weight in inverse]
