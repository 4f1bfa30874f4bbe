"""The task: which classes there are, how they are painted, and which mask value is ignored."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

Colour = tuple[int, int, int]

IGNORED_COLOUR: Colour = (224, 224, 192)
"""How ignored pixels are painted; the colour of the void contours of PASCAL VOC."""


@dataclass(frozen=True)
class Task:
    """What a model is to tell apart.

    Attributes:
        classes: names; the place of a name is its class index in masks and logits.
        palette: one RGB colour (0…255) a class.
        ignore_index: the mask value that counts in no loss and no metric.
    """

    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    ignore_index: int = 255

    @classmethod
    def of(
        cls, classes: Sequence[str], palette: Sequence[Sequence[int]] | None = None, ignore_index: int = 255
    ) -> Self:
        """Makes a task; without a palette, the one of PASCAL VOC serves."""
        colours = palette or voc_palette(len(classes))
        return cls(tuple(classes), tuple((r, g, b) for r, g, b in colours), ignore_index)

    @property
    def num_classes(self) -> int:
        """C: the number of classes, and of channels in the logits."""
        return len(self.classes)

    @property
    def num_head_channels(self) -> int:
        """Channels of the network's head: 1 where there are two classes, else C."""
        return 1 if self.num_classes == 2 else self.num_classes

    def to_json(self) -> dict[str, Any]:
        """The task as plain JSON values."""
        return {
            "classes": list(self.classes),
            "palette": [list(colour) for colour in self.palette],
            "ignore_index": self.ignore_index,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The task that `to_json` wrote."""
        return cls.of(values["classes"], values["palette"], values["ignore_index"])


def check_classes(classes: Sequence[str]) -> None:
    """Raises ValueError where names make no classes: fewer than two, an empty one, or one that stands twice."""
    if len(classes) < 2:
        raise ValueError(f"classes: {len(classes)} given, at least 2 needed; background is a class too")
    if not all(classes):
        raise ValueError("classes: an empty name is given")
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise ValueError(f"classes: {twice!r} stands twice")


def default_ignore_index(num_classes: int) -> int:
    """255, the largest value of 8 bits; 65535 where the classes need more."""
    return 255 if num_classes <= 255 else 65535


def voc_palette(num_colours: int) -> list[Colour]:
    """The PASCAL VOC colour map: the bits of the index, dealt in turn to R, G and B from the highest down.

    Source: VOCcode/VOClabelcolormap of the PASCAL VOC development kit.
    """

    def colour(index: int) -> Colour:
        channels = [0, 0, 0]
        for place in range(8):
            for channel in range(3):
                channels[channel] |= (index >> (3 * place + channel) & 1) << (7 - place)
        return channels[0], channels[1], channels[2]

    return [colour(index) for index in range(num_colours)]
