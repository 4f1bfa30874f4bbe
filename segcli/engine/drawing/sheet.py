"""A contact sheet: many small pictures with their names on one page."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segcli.io.images import Pixels

_HEIGHT, _WIDTH = 240, 960  # what a small picture fits into; panels are wide
_CAPTION = 22
_GAP = 8
_INK = (32, 32, 36)
_PAPER = 255


def small(picture: Pixels) -> Pixels:
    """The picture (H×W×3) as large as it may be on a sheet; areas are averaged, so that thin lines stay, paler."""
    factor = min(_HEIGHT / picture.shape[0], _WIDTH / picture.shape[1])
    size = (max(round(picture.shape[1] * factor), 1), max(round(picture.shape[0] * factor), 1))
    mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(picture, size, interpolation=mode), np.uint8)


def contact_sheet(pictures: Sequence[tuple[str, Pixels]]) -> Pixels:
    """Sets small pictures in rows, each with its caption above.

    Args:
        pictures: captions, and pictures as `small` gives them.

    Returns:
        H×W×3 uint8, about as high as wide.
    """
    height = max(picture.shape[0] for _, picture in pictures) + _CAPTION + _GAP
    width = max(picture.shape[1] for _, picture in pictures) + _GAP
    columns = min(max(round((len(pictures) * height / width) ** 0.5), 1), len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height + _GAP, columns * width + _GAP, 3), _PAPER, np.uint8)
    places = [(_GAP + place // columns * height, _GAP + place % columns * width) for place in range(len(pictures))]
    for (top, left), (_, picture) in zip(places, pictures, strict=True):
        top += _CAPTION
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    page = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for (top, left), (caption, _) in zip(places, pictures, strict=True):
        draw.text((left, top + 2), _fitting(caption, width - _GAP, font), fill=_INK, font=font)
    return np.asarray(page)


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The end of a text, which tells names apart, as long as it fits into a width."""
    shown = text
    while font.getlength(shown) > width and len(text) > 1:
        text = text[1:]
        shown = f"…{text}"
    return shown
