"""A contact sheet: many small pictures with their names on one page, above one legend."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from segcli.engine.drawing.legend import INK, PAPER, Entry, draw_legend, fitting, letters
from segcli.engine.drawing.sizes import Size, size_within
from segcli.io.images import Pixels

_HEIGHT, _WIDTH = 240, 960  # what a small picture fits into; panels are wide
_CAPTION = 22
_GAP = 8


def size_on_sheet(shape: tuple[int, ...], columns: int = 1) -> Size:
    """The size that an image of a shape (H, W, …) has on a sheet, in a picture that is so many times as wide."""
    return size_within(shape, (_HEIGHT, _WIDTH // columns))


def contact_sheet(pictures: Sequence[tuple[str, Pixels]], entries: Sequence[Entry] = ()) -> Pixels:
    """Sets small pictures in rows, each with its caption above.

    Args:
        pictures: captions, and pictures drawn at the size that `size_on_sheet` gives.
        entries: of the legend of all.

    Returns:
        H×W×3 uint8, about as high as wide.
    """
    height = max(picture.shape[0] for _, picture in pictures) + _CAPTION + _GAP
    width = max(picture.shape[1] for _, picture in pictures) + _GAP
    columns = min(max(round((len(pictures) * height / width) ** 0.5), 1), len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * height + _GAP, columns * width + _GAP, 3), PAPER, np.uint8)
    places = [(_GAP + place // columns * height, _GAP + place % columns * width) for place in range(len(pictures))]
    for (top, left), (_, picture) in zip(places, pictures, strict=True):
        top += _CAPTION
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    page = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(page), letters()
    for (top, left), (caption, _) in zip(places, pictures, strict=True):
        draw.text((left, top + 2), fitting(caption, width - _GAP, font), fill=INK, font=font)
    if not entries:
        return np.asarray(page)
    return np.concatenate([np.asarray(page), draw_legend(entries, sheet.shape[1])], axis=0)
