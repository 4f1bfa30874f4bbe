"""Legends and titles: strips beside a picture that say what it shows, in letters that grow with it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segcli.io.images import Mask, Pixels
from segcli.task import IGNORED_COLOUR, Colour, Task

INK: Colour = (32, 32, 36)
PAPER: Colour = (255, 255, 255)
_SWATCH, _BEFORE_TEXT, _BEHIND_TEXT, _LINE, _MARGIN = 14, 20, 14, 20, 8  # pixels, where letters have their least size
_LETTERS = 13
_BAR = 200
_SHORT_SIDE, _WIDTH = 480, 1600  # of the largest picture whose letters have their least size

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Key(NamedTuple):
    """An entry of a legend.

    Attributes:
        name: what is shown so.
        colour: how it is painted; None where the image is left as it is.
    """

    name: str
    colour: Colour | None


class Ramp(NamedTuple):
    """A scale in a legend.

    Attributes:
        name: what is shown so.
        colours: of values evenly from 0 to 1.
    """

    name: str
    colours: tuple[Colour, ...]


Entry = Key | Ramp


def class_keys(mask: Mask, task: Task, background_painted: bool = True) -> list[Key]:
    """The keys of the classes that occur in a mask (of any shape), and of ignored pixels.

    Args:
        mask: class indices.
        task: names and colours.
        background_painted: whether a background has its colour in the picture, or shows the image.
    """
    indices = np.flatnonzero(np.bincount(mask.ravel())).tolist()
    keys = []
    for index in indices:
        if index < task.num_classes and index != task.ignore_index:
            left = index == 0 and task.has_background and not background_painted
            keys.append(Key(f"{task.classes[index]} (not painted)" if left else task.classes[index],
                            None if left else task.palette[index]))  # fmt: skip
    if task.ignore_index in indices:
        keys.append(Key("ignored", IGNORED_COLOUR))
    return keys


def text_scale(picture: Pixels) -> float:
    """How many times its least size the text beside a picture (H×W×3) has."""
    height, width = map(int, picture.shape[:2])
    return max(min(height, width) / _SHORT_SIDE, width / _WIDTH, 1.0)


def draw_legend(entries: Sequence[Entry], width: int, scale: float = 1.0) -> Pixels:
    """Draws ramps, each in a line of its own, and keys in lines that fill a width (H×width×3).

    A name that is too long for the width goes on in the next line.
    """
    keys = [entry for entry in entries if isinstance(entry, Key)]
    ramps = [_draw_ramp(entry, width, scale) for entry in entries if isinstance(entry, Ramp)]
    return np.concatenate([*ramps, *([_draw_keys(keys, width, scale)] if keys else [])], axis=0)


def draw_title(text: str, width: int, scale: float = 1.0) -> Pixels:
    """A strip of a width (H×width×3) with words in it."""
    strip = Image.new("RGB", (width, round((_LINE + 2) * scale)), PAPER)
    ImageDraw.Draw(strip).text((4 * scale, 3 * scale), text, fill=INK, font=letters(scale))
    return np.asarray(strip)


def letters(scale: float = 1.0) -> Font:
    """The font of a scale."""
    return ImageFont.load_default(_LETTERS * scale)


def fitting(text: str, width: int, font: Font) -> str:
    """The end of a text, which tells names apart, as long as it fits into a width."""
    shown = text
    while font.getlength(shown) > width and len(text) > 1:
        text = text[1:]
        shown = f"…{text}"
    return shown


def _draw_keys(keys: Sequence[Key], width: int, scale: float) -> Pixels:
    font = letters(scale)
    swatch, before, behind, line, margin = (
        round(scale * value) for value in (_SWATCH, _BEFORE_TEXT, _BEHIND_TEXT, _LINE, _MARGIN)
    )
    placed: list[tuple[int, int, Key, list[str]]] = []
    x, y = margin, round(6 * scale)
    for key in keys:
        lines = _wrapped(key.name, font, width - margin - before)
        needed = before + round(max(font.getlength(text) for text in lines)) + behind
        if x > margin and (x + needed > width or len(lines) > 1):
            x, y = margin, y + line
        placed.append((x, y, key, lines))
        x, y = x + needed, y + line * (len(lines) - 1)
    strip = Image.new("RGB", (width, y + line + 2), PAPER)
    draw = ImageDraw.Draw(strip)
    stroke = round(scale)
    for x, y, key, lines in placed:
        box = (x, y + stroke, x + swatch - 1, y + swatch)
        draw.rectangle(box, fill=key.colour or PAPER, outline=INK, width=stroke)
        if key.colour is None:
            draw.line((box[0], box[3], box[2], box[1]), fill=INK, width=stroke)
        for number, text in enumerate(lines):
            draw.text((x + before, y - stroke + number * line), text, fill=INK, font=font)
    return np.asarray(strip)


def _draw_ramp(ramp: Ramp, width: int, scale: float) -> Pixels:
    """The name, and behind or below it a bar with its ends and its middle marked."""
    font = letters(scale)
    margin, line, swatch, stroke = (round(scale * value) for value in (_MARGIN, _LINE, _SWATCH, 1))
    bar = min(round(_BAR * scale), width - 3 * margin)
    left, top = 2 * margin + round(font.getlength(ramp.name)), round(6 * scale)
    strip = Image.new("RGB", (width, top + 4 * line), PAPER)
    draw = ImageDraw.Draw(strip)
    draw.text((margin, top - stroke), ramp.name, fill=INK, font=font)
    if left + bar + 2 * margin > width:
        left, top = margin + round(4 * scale), top + line
    colours = np.array(ramp.colours, np.uint8)[np.linspace(0, len(ramp.colours) - 1, bar).round().astype(int)]
    strip.paste(Image.fromarray(np.broadcast_to(colours, (swatch, bar, 3)).copy()), (left, top))
    draw.rectangle((left, top, left + bar - 1, top + swatch - 1), outline=INK, width=stroke)
    for value in (0, 0.5, 1):
        x = left + round(value * (bar - 1))
        draw.line((x, top + swatch, x, top + swatch + 3 * stroke), fill=INK, width=stroke)
        draw.text((x - font.getlength(f"{value:g}") / 2, top + swatch + 3 * stroke), f"{value:g}", fill=INK, font=font)
    return np.asarray(strip)[: top + swatch + line + round(2 * scale)]


def _wrapped(name: str, font: Font, room: int) -> list[str]:
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
