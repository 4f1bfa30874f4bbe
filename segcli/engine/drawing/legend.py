"""Legends: a strip below a picture that says what each colour in it means."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segcli.io.images import Mask, Pixels
from segcli.task import IGNORED_COLOUR, Colour, Task

INK: Colour = (32, 32, 36)
PAPER: Colour = (255, 255, 255)
_SWATCH, _BEFORE_TEXT, _BEHIND_TEXT, _LINE, _MARGIN = 14, 20, 14, 20, 8  # pixels
_LETTERS = 13


class Key(NamedTuple):
    """An entry of a legend.

    Attributes:
        name: what is shown so.
        colour: how it is painted; None where the image is left as it is.
    """

    name: str
    colour: Colour | None


def class_keys(mask: Mask, task: Task, background_painted: bool = True) -> list[Key]:
    """The keys of the classes that occur in a mask (of any shape), and of ignored pixels.

    Args:
        mask: class indices.
        task: names and colours.
        background_painted: whether a background has its colour in the picture, or shows the image.
    """
    indices = [int(index) for index in np.unique(mask)]
    keys = []
    for index in indices:
        if index < task.num_classes and index != task.ignore_index:
            left = index == 0 and task.has_background and not background_painted
            keys.append(Key(f"{task.classes[index]} (not painted)" if left else task.classes[index],
                            None if left else task.palette[index]))  # fmt: skip
    if task.ignore_index in indices:
        keys.append(Key("ignored", IGNORED_COLOUR))
    return keys


def draw_legend(keys: Sequence[Key], width: int) -> Pixels:
    """Draws keys in lines that fill a width (H×width×3); a name that is too long for it goes on in the next line."""
    font = ImageFont.load_default(_LETTERS)
    placed: list[tuple[int, int, Key, list[str]]] = []
    x, y = _MARGIN, 6
    for key in keys:
        lines = _wrapped(key.name, font, width - _MARGIN - _BEFORE_TEXT)
        needed = _BEFORE_TEXT + round(max(font.getlength(line) for line in lines)) + _BEHIND_TEXT
        if x > _MARGIN and (x + needed > width or len(lines) > 1):
            x, y = _MARGIN, y + _LINE
        placed.append((x, y, key, lines))
        x, y = x + needed, y + _LINE * (len(lines) - 1)
    strip = Image.new("RGB", (width, y + _LINE + 2), PAPER)
    draw = ImageDraw.Draw(strip)
    for x, y, key, lines in placed:
        box = (x, y + 1, x + _SWATCH - 1, y + _SWATCH)
        draw.rectangle(box, fill=key.colour or PAPER, outline=INK)
        if key.colour is None:
            draw.line((box[0], box[3], box[2], box[1]), fill=INK)
        for number, line in enumerate(lines):
            draw.text((x + _BEFORE_TEXT, y - 1 + number * _LINE), line, fill=INK, font=font)
    return np.asarray(strip)


def draw_title(text: str, width: int) -> Pixels:
    """A strip of a width (22×width×3) with words in it."""
    strip = Image.new("RGB", (width, _LINE + 2), PAPER)
    ImageDraw.Draw(strip).text((4, 3), text, fill=INK, font=ImageFont.load_default(_LETTERS))
    return np.asarray(strip)


def _wrapped(name: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", room: int) -> list[str]:
    """A name in lines no longer than the room, broken between words where there are any."""
    lines = [""]
    for word in name.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(joined) <= room:
            lines[-1] = joined
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > room:
                lines.append("")
            lines[-1] += letter
    return [line for line in lines if line] or [""]
