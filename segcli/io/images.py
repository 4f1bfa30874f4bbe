"""Images and masks: the only place where they are read and written."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from segcli.errors import DataError
from segcli.io.files import replacing
from segcli.task import IGNORED_COLOUR, Colour

Pixels = NDArray[np.uint8]
Mask = NDArray[Any]

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}

_LARGEST = 65535

# Modes whose values fit 8 bits a channel, so that RGB loses nothing but alpha.
_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}


def find_images(folder: Path) -> list[Path]:
    """All image files below a folder, sorted; hidden files are passed over.

    Raises:
        DataError: if there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files = (path for path in _walk(folder, ()) if path.suffix.lower() in SUFFIXES)
    return sorted(files)


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Everything below a folder that is not hidden, through links too; a link to a folder above it is passed over."""
    real = folder.resolve()
    if real in above:
        return
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.suffix.lower() not in SUFFIXES:
            yield from _walk(path, (*above, real))
        else:
            yield path


def read_image(path: Path) -> Pixels:
    """Reads an image as H×W×3 uint8 RGB, turned upright by its EXIF orientation.

    Raises:
        DataError: if the file is missing, damaged, no image, or deeper than 8 bits.
    """
    image = _open(path)
    if image.mode not in _EIGHT_BIT:
        raise DataError(f"{path} has pixels of mode {image.mode}; convert it to 8 bits a channel")
    upright = ImageOps.exif_transpose(image)
    return np.array(upright.convert("RGB"))


def read_mask(path: Path) -> Mask:
    """Reads a mask as H×W class indices (uint8 or int32), as they stand in the file.

    A palette image gives its indices; a colour image whose channels are all equal gives the one channel.

    Raises:
        DataError: if the file is missing, damaged, no image, or holds colours instead of indices.
    """
    image = _open(path)
    if image.mode in {"L", "P"}:
        return np.array(image)
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in {"I", "I;16", "I;16B", "I;16L"}:
        values = np.asarray(image).astype(np.int32)
        if values.min(initial=0) < 0 or values.max(initial=0) > _LARGEST:
            raise DataError(f"{path} holds {values.min()} … {values.max()}; mask values are 0 … {_LARGEST}")
        return values
    if image.mode in {"LA", "PA"}:
        return np.asarray(image)[..., 0]
    if image.mode in {"RGB", "RGBA"}:
        values = np.asarray(image)[..., :3]
        if (values == values[..., :1]).all():
            return np.ascontiguousarray(values[..., 0])
        raise DataError(f"{path} is a colour image, not class indices; convert its colours to indices 0…C-1 first")
    raise DataError(f"{path} has pixels of mode {image.mode}; a mask holds one integer a pixel")


def write_mask(path: Path, mask: Mask, palette: Sequence[Colour] = ()) -> None:
    """Writes class indices (H×W) as a PNG: 8 bits with the palette embedded, 16 bits where they need it."""
    if mask.max(initial=0) > 255:
        image = Image.fromarray(mask.astype(np.uint16))
    else:
        image = Image.fromarray(mask.astype(np.uint8))
        if palette:
            colours = [*palette[:256], *[(0, 0, 0)] * (256 - len(palette))]
            if len(palette) < 256:
                colours[255] = IGNORED_COLOUR
            image.putpalette([channel for colour in colours for channel in colour])
    with replacing(path) as staged:
        image.save(staged, format="PNG")


def write_image(path: Path, image: Pixels) -> None:
    """Writes H×W×3 uint8 RGB in the format that the suffix names; JPEG at quality 92."""
    options: dict[str, Any] = {"quality": 92} if path.suffix.lower() in {".jpg", ".jpeg"} else {}
    with replacing(path) as staged:
        Image.fromarray(image).save(staged, **options)


def _open(path: Path) -> Image.Image:
    """Decodes a whole file, so that a truncated one is found here."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from None
    return image


def _unreadable(path: Path, error: Exception) -> DataError:
    if not path.exists():
        return DataError(f"{path}: no such file")
    if path.is_dir():
        return DataError(f"{path} is a folder, not an image")
    if path.stat().st_size == 0:
        return DataError(f"{path} is empty (0 bytes); replace or remove it")
    if isinstance(error, UnidentifiedImageError):
        return DataError(f"{path} is not an image; replace or remove it")
    return DataError(f"{path} is damaged: {error}; replace or remove it")
