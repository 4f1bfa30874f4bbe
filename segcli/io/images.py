"""Images and masks: the only place where they are read and written."""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from segcli.errors import FileProblem
from segcli.io.file_kinds import no_image
from segcli.io.files import replacing, walk
from segcli.task import IGNORED_COLOUR, Colour

Pixels = NDArray[np.uint8]
Mask = NDArray[Any]

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}

_LARGEST = 65535

# Modes whose values fit 8 bits a channel, so that RGB loses nothing but alpha.
_EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_INDICES = {"L", "P"}
_INTEGERS = {"I", "I;16", "I;16B", "I;16L"}
_COLOURS = {"RGB", "RGBA"}
_RUNS = 3  # zlib's Z_RLE: masks are runs of one value, and come out smaller in half of the time
_FAST = 3  # zlib's level for colours: a third of the time of its default, a few per cent more bytes
_OF_PAGES = {"GIF", "PNG", "TIFF", "WEBP"}  # but not the second picture that a camera puts into a JPEG
_ORIENTATION = 274  # EXIF tag; 1 is upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_SUBFILE_TYPE = 254  # TIFF tag; its lowest bit marks a smaller copy of another page
Image.MAX_IMAGE_PIXELS = 1 << 29  # aerial images are large; Pillow refuses twice as many, which is OpenCV's limit
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of half as many as it refuses


def find_images(folder: Path) -> list[Path]:
    """Everything below a folder that is named like an image, in the order of the paths; raises as `walk` does."""
    return [path for path in walk(folder) if path.suffix.lower() in SUFFIXES]


def read_image(path: Path) -> Pixels:
    """Reads an image as H×W×3 uint8 RGB, turned upright by its EXIF orientation.

    Raises:
        FileProblem: if the file is missing, damaged, no image, of several pages, deeper than 8 bits or of more than
            three channels and alpha.
    """
    return np.array(load_image(path).image.convert("RGB"))


def read_mask(path: Path, colours: bool = False, first_page: bool = False) -> Mask:
    """Reads a mask as H×W integers (uint8 or int32), as they stand in the file.

    A palette image gives its indices; a colour image whose channels are all equal gives the one channel.

    Args:
        path: the file.
        colours: its values are colours: int32, each as 0xRRGGBB.
        first_page: of several pages, take the first.

    Raises:
        FileProblem: if the file is missing, damaged, no image, or holds colours instead of indices.
    """
    image = decode(path, first_page=first_page).image
    return colour_values(image) if colours else mask_values(image, path)


def read_deep(path: Path) -> Mask | None:
    """The integers of an image of more than 8 bits, upright: H×W or H×W×3 RGB; None where it holds something else."""
    decoded = decode(path, first_page=True)
    if decoded.image.mode.startswith("I"):
        values = np.asarray(decoded.image)
        return None if values.min() < 0 else values
    if decoded.image.mode == "RGB":  # Pillow has narrowed it
        colours: Mask | None = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        if colours is None or colours.ndim != 3 or colours.shape[2] != 3:
            return None
        # OpenCV turns TIFF files by itself.
        return upright(colours[..., ::-1], 1 if decoded.format == "TIFF" else decoded.orientation)
    return None


def read_whole(path: Path) -> bytes:
    """The content of a file; where it is a PNG, verifies the checksum of each chunk, which decoding alone does not.

    Raises:
        FileProblem: if it is not there or its content was changed.
    """
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    if content.startswith(b"\x89PNG"):
        try:
            with Image.open(io.BytesIO(content)) as image:
                image.verify()
        except (OSError, SyntaxError, ValueError) as error:
            raise FileProblem(f"{path} is damaged: {error}; replace or remove it", "damaged") from None
    elif not content:
        decode(path)  # says what is wrong
    return content


def upright(values: Mask, orientation: int) -> Mask:
    """Turns an array as its EXIF orientation asks."""
    turned = values.swapaxes(0, 1) if orientation >= 5 else values
    return turned[:: -1 if orientation in {3, 4, 7, 8} else 1, :: -1 if orientation in {2, 3, 6, 7} else 1]


@dataclass(frozen=True)
class Decoded:
    """A file decoded in full.

    Attributes:
        image: turned upright, in the mode that the file has.
        path: the file.
        depth: bits a channel in the file; Pillow narrows 16-bit colours to 8 without a word.
        orientation: its EXIF orientation; 1 is upright.
        format: of the file, as Pillow calls it.
    """

    image: Image.Image
    path: Path
    depth: int
    orientation: int
    format: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright."""
        return self.image.height, self.image.width

    def peculiarities(self) -> Iterator[str]:
        """Names what is odd about a file that is read right all the same: kinds of notes in a check."""
        if self.path.suffix != self.path.suffix.lower():
            yield "suffix-case"
        if self.image.mode in {"LA", "PA", "RGBA"} or "transparency" in self.image.info:
            yield "alpha"
        if self.image.mode in {"CMYK", "YCbCr"}:
            yield "cmyk"
        if self.image.mode == "1":
            yield "one-bit"
        if self.orientation != 1:
            yield "exif"


def load_image(path: Path, content: bytes | None = None) -> Decoded:
    """Decodes a whole image file; raises as `read_image` does.

    Args:
        path: the file.
        content: its bytes, where they have been read already.
    """
    decoded = decode(path, content)
    bands = len(decoded.image.getbands())
    if decoded.image.mode == "RGBX" or bands > 4:
        raise FileProblem(f"{path} has {bands} channels; write three of them as RGB", "channels")
    if decoded.image.mode not in _EIGHT_BIT or decoded.depth > 8:
        raise FileProblem(f"{path} has more than 8 bits a channel; scale it to 8 bits", "deep-image")
    return decoded


def mask_values(image: Image.Image, path: Path) -> Mask:
    """The integers (H×W, uint8 or int32) that a decoded mask holds; raises FileProblem where it holds none."""
    if image.mode in _INDICES:
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in _INTEGERS or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "F" and not (values == np.round(values)).all():
            raise FileProblem(f"{path} holds fractions; a mask holds one integer a pixel", "mask-depth")
        if values.min(initial=0) < 0 or values.max(initial=0) > _LARGEST:
            held = f"{values.min():.0f} … {values.max():.0f}"
            raise FileProblem(f"{path} holds {held}; mask values are 0 … {_LARGEST}", "mask-depth")
        return values.astype(np.int32)
    if image.mode in {"LA", "PA"}:
        return np.ascontiguousarray(np.asarray(image)[..., 0])
    if image.mode in _COLOURS:
        channels = np.asarray(image)[..., :3]
        if (channels == channels[..., :1]).all():
            return np.ascontiguousarray(channels[..., 0])
        raise FileProblem(
            f"{path} is a colour image, not class indices; where all masks are, `seg dataset prepare FOLDER --palette "
            f"FILE` turns colours into indices",
            "colour-mask",
        )
    raise FileProblem(f"{path} has pixels of mode {image.mode}; a mask holds one integer a pixel", "mask-depth")


def colour_values(image: Image.Image) -> Mask:
    """The colours of a decoded mask as H×W int32, each as the number 0xRRGGBB."""
    channels = np.asarray(image.convert("RGB")).astype(np.int32)
    return channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]


def write_mask(path: Path, mask: Mask, palette: Sequence[Colour] = ()) -> None:
    """Writes class indices (H×W) as a PNG: 8 bits with the palette embedded, 16 bits where they need it."""
    with replacing(path) as staged:
        staged.write_bytes(encode_mask(mask, palette))


def encode_mask(mask: Mask, palette: Sequence[Colour] | None = None, deep: bool = False) -> bytes:
    """The PNG that `write_mask` writes; of 16 bits where `deep` asks for it or a value needs it."""
    if deep or mask.max(initial=0) > 255:
        image = Image.fromarray(mask.astype(np.uint16))
    else:
        image = Image.fromarray(mask.astype(np.uint8))
        if palette:
            colours = [*palette[:256], *[(0, 0, 0)] * (256 - len(palette))]
            if len(palette) < 256:
                colours[255] = IGNORED_COLOUR
            image.putpalette([channel for colour in colours for channel in colour])
    stream = io.BytesIO()
    image.save(stream, format="PNG", compress_type=_RUNS)
    return stream.getvalue()


def write_image(path: Path, image: Pixels) -> None:
    """Writes H×W×3 uint8 RGB in the format that the suffix names; JPEG at quality 92."""
    with replacing(path) as staged:
        if path.suffix.lower() in {".jpg", ".jpeg"}:
            staged.write_bytes(encode_jpeg(image, quality=92))
        else:
            Image.fromarray(image).save(staged)


def encode_png(image: Pixels) -> bytes:
    """An H×W×3 uint8 RGB image, or one of H×W×4 with alpha, as a PNG file; made fast rather than small."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=_FAST)
    return stream.getvalue()


def encode_jpeg(image: Pixels, quality: int) -> bytes:
    """An H×W×3 uint8 RGB image as a JPEG file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def decode(path: Path, content: bytes | None = None, first_page: bool = False) -> Decoded:
    """Decodes a whole file, so that a truncated one is found here.

    Args:
        path: the file.
        content: its bytes, where they have been read already.
        first_page: of several pages, take the first.

    Raises:
        FileProblem: if it is missing, damaged, no image, or of several pages.
    """
    try:
        # Of a path, Pillow maps uncompressed TIFF files into memory, and garbles those that must be turned.
        with path.open("rb") if content is None else io.BytesIO(content) as stream, Image.open(stream) as image:
            depth = _depth(image)
            orientation = image.getexif().get(_ORIENTATION, 1)
            pages = _pages(image)
            if pages > 1 and not first_page:
                raise FileProblem(f"{path} holds {pages} pages; keep one", "pages")
            image.load()
            left = image.getexif().get(_ORIENTATION, 1)  # Pillow turns TIFF files by itself
        turn = _TURNS.get(left)
        turned = image if turn is None else image.transpose(turn)
        return Decoded(turned, path, depth, orientation, image.format or "")
    except (FileProblem, MemoryError):
        raise
    except Exception as error:  # whatever Pillow raises: its decoders answer damaged files with errors of any kind
        raise _unreadable(path, error) from None


def _pages(image: Image.Image) -> int:
    """Pages of a file; smaller copies of a page, as large TIFF files carry them, are none."""
    number = getattr(image, "n_frames", 1) if image.format in _OF_PAGES else 1
    if number == 1 or not isinstance(image, TiffImagePlugin.TiffImageFile):
        return number
    pages = 0
    for frame in range(number):
        image.seek(frame)
        pages += not int(image.tag_v2.get(_SUBFILE_TYPE, 0)) & 1
    image.seek(0)
    return pages


def _depth(image: Image.Image) -> int:
    """Bits a channel in the file, before Pillow narrows 16-bit colours to 8 without a word."""
    arguments = [str(tile[3]) for tile in getattr(image, "tile", [])]
    if image.format == "BMP":  # whose BGR;16 is 16 bits a pixel
        return 8
    if image.format == "PPM":
        numbers = [int(number) for text in arguments for number in re.findall(r"\d+", text)]
        return 16 if max(numbers, default=0) > 255 else 8
    return 16 if any(";16" in text for text in arguments) else 8


def _unreadable(path: Path, error: Exception) -> FileProblem:
    if path.is_symlink() and not path.exists():
        return FileProblem(f"{path} is a link to {path.readlink()}, which is not there", "broken-link")
    if not path.exists():
        return FileProblem(f"{path}: no such file", "missing")
    if path.is_dir():
        return FileProblem(f"{path} is a folder, not an image", "folder")
    if path.stat().st_size == 0:
        return FileProblem(f"{path} is empty (0 bytes); replace or remove it", "empty")
    if isinstance(error, Image.DecompressionBombError):
        return FileProblem(f"{path} has more than {2 * (1 << 29):,} pixels; cut it into parts", "too-large")
    if isinstance(error, UnidentifiedImageError):
        channels = _tiff_channels(path)
        if channels > 4:
            return FileProblem(f"{path} has {channels} channels; write three of them as RGB", "channels")
        return FileProblem(f"{path} is {no_image(path)}", "not-an-image")
    return FileProblem(f"{path} is damaged: {error}; replace or remove it", "damaged")


def _tiff_channels(path: Path) -> int:
    """Channels of a TIFF file that Pillow cannot decode; 0 where it is none."""
    try:
        with path.open("rb") as stream:
            directory = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
            stream.seek(directory.next)
            directory.load(stream)
            return int(directory.get(TiffImagePlugin.SAMPLESPERPIXEL, 0))
    except (SyntaxError, OSError, ValueError, TypeError, KeyError):
        return 0


def count_pixels(path: Path) -> int:
    """The pixels that the head of an image file speaks of, without decoding it; 0 where it has no such head."""
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except Exception:  # whatever Pillow raises; reading the image will say what is wrong
        return 0
